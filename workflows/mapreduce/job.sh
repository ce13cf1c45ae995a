#!/bin/bash
#SBATCH --job-name=mapreduce
#SBATCH --output=mapreduce-%j.out
#SBATCH --time=30
exec smigrate run
