#!/bin/bash
#SBATCH --job-name=channel
#SBATCH --output=channel-%j.out
#SBATCH --time=30
exec smigrate run
