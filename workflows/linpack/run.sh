#!/bin/bash
# RANKS processes solve N equations ROUNDS times; hpcc checks each of its answers itself.
set -eu -o pipefail
export TMPDIR=/tmp # where the ranks find one another
RANKS=${RANKS:-2} N=${N:-1500} ROUNDS=${ROUNDS:-1}
cd "$(mktemp -d)"
cat >hpccinf.txt <<END
HPLinpack benchmark input file
one size, one block size, one grid
HPL.out      output file name (if any)
8            device out (6=stdout,7=stderr,file)
1            # of problems sizes (N)
$N           Ns
1            # of NBs
64           NBs
0            PMAP process mapping (0=Row-,1=Column-major)
1            # of process grids (P x Q)
1            Ps
$RANKS       Qs
16.0         threshold
1            # of panel fact
2            PFACTs (0=left, 1=Crout, 2=Right)
1            # of recursive stopping criterium
4            NBMINs (>= 1)
1            # of panels in recursion
2            NDIVs
1            # of recursive panel fact.
1            RFACTs (0=left, 1=Crout, 2=Right)
1            # of broadcast
1            BCASTs (0=1rg,1=1rM,2=2rg,3=2rM,4=Lng,5=LnM)
1            # of lookahead depth
1            DEPTHs (>=0)
2            SWAP (0=bin-exch,1=long,2=mix)
64           swapping threshold
0            L1 in (0=transposed,1=no-transposed) form
0            U  in (0=transposed,1=no-transposed) form
1            Equilibration (0=no,1=yes)
8            memory alignment in double (> 0)
##### This line (no. 32) is ignored (it serves as a separator). ######
0            Number of additional problem sizes for PTRANS
1200         values of N
0            number of additional blocking sizes for PTRANS
40           values of NB
END
for ((round = 1; round <= ROUNDS; round++)); do
	rm -f hpccoutf.txt
	echo "round $round begins"
	mpirun --oversubscribe -np "$RANKS" hpcc
	grep -E 'PASSED|FAILED' hpccoutf.txt | sed 's/^/  /'
	if ! grep -q '^Success=1$' hpccoutf.txt || grep -q FAILED hpccoutf.txt; then
		echo "answer=wrong"
		exit 1
	fi
done
echo "answer=ok rounds=$ROUNDS ranks=$RANKS n=$N"
