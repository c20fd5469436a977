#!/bin/sh
# A run that loads two large tables is killed when nine tenths of them are loaded. With `resume = true`, the next run
# moves at most a fifth of the bytes and ends equal to the source, in modes swap and merge.
#
#   sh tests/resume.sh [ROWS]     default: 3000000 rows in both tables together
set -eu
cd "$(dirname "$0")/.."
TABLEFERRY_RESUME_ROWS=${1:-3000000}
export TABLEFERRY_RESUME_ROWS
exec sh tests/run.sh --test it -- resume::at_nine_tenths --nocapture
