#!/bin/bash
#SBATCH --job-name=web
#SBATCH --output=web-%j.out
#SBATCH --time=30
exec smigrate run
