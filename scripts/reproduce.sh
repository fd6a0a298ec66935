#!/bin/sh
# Run the launchers of every paper (or of $PAPER) at $PRESET; figures follow each, the report comes last.
set -eu
cd "$(dirname "$0")/.."

PRESET=${PRESET:-quick}
MAKE=${MAKE:-make}
RESULTS=${RESULTS:-results}
case ${PAPER:-} in
    "") papers="diffusion" ;;
    diffusion) papers=$PAPER ;;
    vae | itdiffusion | infodiffusion | scoregen)
        echo "error: $PAPER/ has no experiments yet: choose PAPER=diffusion" >&2
        exit 2
        ;;
    *)
        echo "error: unknown PAPER '$PAPER': choose diffusion" >&2
        exit 2
        ;;
esac

for paper in $papers; do
    for launcher in $(cat "$paper/quick.list"); do
        sh "$paper/$launcher" "$PRESET" --results-dir "$RESULTS"
        $MAKE --no-print-directory analysis PAPER="$paper" RESULTS="$RESULTS"
    done
done
$MAKE --no-print-directory report RESULTS="$RESULTS"
echo "figures: $RESULTS/figures/    tables: $RESULTS/<paper>/*.csv    report: $RESULTS/report.html"
