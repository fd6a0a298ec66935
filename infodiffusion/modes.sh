# shellcheck shell=sh
# Sourced by launchers of several modes, after scripts/launch.sh: run each group of modes in turn, its runs shared between
# JOBS processes.
#   run_modes DATASET "GROUP GROUP ..." [preset] [--flags]        GROUP: MODE[,MODE...]
# A group begins when the one before has ended everywhere, since modes stand on what others have written; where one
# process does all (JOBS=1, a GPU), it goes through every group without being started again.

run_modes() {
    dataset=$1
    groups=$2
    shift 2
    case " $* " in
        *" --help "* | *" -h "* | *" --dry-run "* | *" --count "*) groups=train ;;
    esac
    if [ "$(count_jobs "$@")" -eq 1 ]; then groups=$(echo "$groups" | tr ' ' ','); fi
    for group in $groups; do
        (run_shared infodiffusion.run "$@" --dataset "$dataset" --mode "$group")
    done
}
