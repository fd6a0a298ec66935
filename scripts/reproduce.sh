#!/bin/sh
# Run the launchers of every paper (or of $PAPER) at $PRESET; figures follow each, the report comes last.
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
INVOKED_FROM=$PWD # RESULTS is meant from the repository's folder, as make takes it

PRESET=${PRESET:-quick}
MAKE=${MAKE:-make}
RESULTS=${RESULTS:-results}
# The folders with experiments: in the order of the README, then those that came later.
known=""
for list in diffusion/quick.list itdiffusion/quick.list vae/quick.list scoregen/quick.list */quick.list; do
    folder=${list%/quick.list}
    case "$known " in *" $folder "*) continue ;; esac
    if [ -f "$list" ]; then known="$known $folder"; fi
done
papers=${PAPER:-$known}
case " $known " in
    *" $papers "*) ;;
    *)
        echo "error: unknown PAPER '$PAPER': choose one of$known" >&2
        exit 2
        ;;
esac
# Asked here, an unknown preset is one line instead of one from each of the processes that share a sweep.
case $PRESET in
    smoke | quick | paper) ;;
    *)
        echo "error: unknown PRESET '$PRESET': choose one of smoke, quick, paper" >&2
        exit 2
        ;;
esac

for paper in $papers; do
    # shellcheck disable=SC2013 # names have no spaces, and with a pipe a failed launcher would not end this script
    for launcher in $(cat "$paper/quick.list"); do
        sh "$paper/$launcher" "$PRESET" --results-dir "$RESULTS"
        # What is skipped, for want of tables, is said once: by the report, at the end.
        drawn=$($MAKE --no-print-directory analysis PAPER="$paper" RESULTS="$RESULTS") || exit
        echo "$drawn" | sed '/^skipped /d'
    done
done
$MAKE --no-print-directory report RESULTS="$RESULTS"
echo "figures: $RESULTS/figures/    tables: $RESULTS/<paper>/*.csv    report: $RESULTS/report.html"
