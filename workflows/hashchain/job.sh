#!/bin/bash
#SBATCH --job-name=hashchain
#SBATCH --output=hashchain-%j.out
#SBATCH --time=30
exec smigrate run
