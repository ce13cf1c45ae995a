#!/bin/bash
#SBATCH --job-name=linpack
#SBATCH --output=linpack-%j.out
#SBATCH --time=30
exec smigrate run
