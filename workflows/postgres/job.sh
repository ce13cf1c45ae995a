#!/bin/bash
#SBATCH --job-name=postgres
#SBATCH --output=postgres-%j.out
#SBATCH --time=30
exec smigrate run
