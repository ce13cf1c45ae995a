#!/bin/bash
#SBATCH --job-name=cache
#SBATCH --output=cache-%j.out
#SBATCH --time=30
exec smigrate run
