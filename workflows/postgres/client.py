"""Clients of the database, each with one connection that it opens once.

usage: client.py ping     is the server there?
       client.py work     CLIENTS sessions move money between accounts, ROUNDS transactions each, while one more holds a transaction
                          open all the time; at the end everything is counted
"""
import os
import sys
import threading
import time

import psycopg2

CLIENTS = int(os.environ.get("CLIENTS") or 4)
ROUNDS = int(os.environ.get("ROUNDS") or 2000)  # or until there is a file `stop` beside this one
PAUSE = float(os.environ.get("PAUSE_MS") or 5) / 1000
ACCOUNTS, MONEY = 20, 1000
HERE = os.path.dirname(os.path.abspath(__file__))
faults = []


def connect():
    return psycopg2.connect(host="db", dbname="postgres", user="bank", connect_timeout=10)


def session(connection):
    """What a reconnect would change: the server's process, and both ends of the connection."""
    with connection.cursor() as c:
        c.execute("SELECT pg_backend_pid(), host(inet_client_addr()), inet_client_port(), pg_postmaster_start_time()")
        return c.fetchone()


def over(n):
    return n > ROUNDS or os.path.exists(os.path.join(HERE, "stop"))


def prepare():
    with connect() as c, c.cursor() as cursor:
        cursor.execute("CREATE TABLE accounts (id int PRIMARY KEY, money int NOT NULL)")
        cursor.execute("INSERT INTO accounts SELECT g, %s FROM generate_series(1, %s) g", (MONEY, ACCOUNTS))
        cursor.execute("CREATE TABLE moves (client int, n int, amount int, PRIMARY KEY (client, n))")


def work(client, connection, done):
    """Transactions numbered 1, 2, ...: what has been answered by the server's COMMIT is in `done`."""
    n = 1
    while not over(n):
        taker, giver, amount = (client + n) % ACCOUNTS + 1, (client + 7 * n + 3) % ACCOUNTS + 1, n % 13
        with connection, connection.cursor() as c:
            c.execute("INSERT INTO moves VALUES (%s, %s, %s)", (client, n, amount))
            for account, change in sorted([(giver, -amount), (taker, amount)]):
                c.execute("UPDATE accounts SET money = money + %s WHERE id = %s", (change, account))
        done[client] = n
        n += 1
        time.sleep(PAUSE)


def hold(connection, finish):
    """One transaction from before the first move until all are done: what it has written is there for itself alone."""
    with connection, connection.cursor() as c:
        c.execute("CREATE TEMP TABLE mine (n int) ON COMMIT DROP")
        c.execute("INSERT INTO moves VALUES (0, 0, 0)")
        n = 0
        while not finish.is_set():
            n += 1
            c.execute("INSERT INTO mine VALUES (%s)", (n,))
            c.execute("SELECT count(*), max(n) FROM mine")
            if c.fetchone() != (n, n):
                raise RuntimeError("the open transaction has lost what it wrote")
            time.sleep(0.1)


def run(function, *args):
    def guarded():
        try:
            function(*args)
        except Exception as e:  # any error that a client sees is what this is about
            faults.append("%s: %s: %s" % (function.__name__, type(e).__name__, str(e).strip()))
            print("FAULT", faults[-1], flush=True)

    t = threading.Thread(target=guarded)
    t.start()
    return t


def verify(connections, before, done):
    for connection, was in zip(connections, before):
        if session(connection) != was:
            faults.append("a session is not the one that it was: %s, %s" % (was, session(connection)))
    with connect() as c, c.cursor() as cursor:
        cursor.execute("SELECT sum(money) FROM accounts")
        if cursor.fetchone()[0] != ACCOUNTS * MONEY:
            faults.append("money has come or gone")
        cursor.execute("SELECT client, count(*), min(n), max(n) FROM moves WHERE client > 0 GROUP BY client ORDER BY client")
        rows = {client: (count, low, high) for client, count, low, high in cursor}
        for client, n in done.items():
            if rows.get(client) != (n, 1, n):
                faults.append("client %d has committed 1 to %d, the table has %s" % (client, n, rows.get(client)))
        cursor.execute("SELECT count(*) FROM moves WHERE client = 0")
        if cursor.fetchone()[0] != 1:
            faults.append("the long transaction is not there once")


def main():
    prepare()
    holder, connections, done = connect(), [connect() for _ in range(CLIENTS)], {}
    before = [session(c) for c in connections]
    for c in connections:
        c.rollback()
    finish = threading.Event()
    long = run(hold, holder, finish)
    workers = [run(work, i + 1, c, done) for i, c in enumerate(connections)]
    print("sessions are open", flush=True)
    for w in workers:
        w.join()
    finish.set()
    long.join()
    verify(connections, before, done)
    for fault in faults:
        print("FAULT", fault)
    print("answer=%s transactions=%d clients=%d" % ("wrong" if faults else "ok", sum(done.values()), CLIENTS), flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["ping"]:
        connect().close()
    else:
        sys.exit(main())
