#!/usr/bin/env bash
# Train LoCo and a base model without its three ideas the same way on data/stampsav, score both on the test split, draw both.
# `make demo` runs it; a run that was interrupted, or is finished, is not begun again.
set -euo pipefail
cd "$(dirname "$0")/../.."
loco=${1:-loco}

echo "1/4  LoCo"
"$loco" train --preset stampsav --out runs/loco
echo; echo "2/4  The base: no cross-modal attention, no correspondence loss, no pyramid"
"$loco" train --preset stampsav --out runs/base --model.cross none --model.lcc false --model.pyramid false
echo; echo "3/4  Both on the test split"
"$loco" eval runs/base runs/loco
echo; echo "4/4  Loss curves, and timelines of ground truth, base and LoCo"
"$loco" plot runs/base runs/loco --out runs/plots
printf '\nEverything is in runs/: weights and settings, predictions (ActivityNet JSON), metrics, and pictures in runs/plots. It took %d min %02d s.\n' $((SECONDS/60)) $((SECONDS%60))
