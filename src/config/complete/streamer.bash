# Completions for bash, as `streamer help bash` prints them.
_streamer() {
  local line=${COMP_LINE:0:COMP_POINT} command=serve choices=
  # What is being written, whole: bash cuts its own words at = and : too.
  local given=${line##*[[:blank:]]}
  local -a words
  read -ra words <<<"${line%"$given"}"
  local flag=${words[-1]}
  if [[ $given == --*=* ]]; then flag=${given%%=*} given=${given#*=}; fi
  case ${words[1]} in token | check | help) command=${words[1]} ;; esac

  case "$command $flag" in
@VALUES@    'serve '*) choices='@SERVE@' ;;
    'token '*) choices='@TOKEN@' ;;
    'help help') choices='@TOPICS@' ;;
  esac
  if [[ ${#words[@]} == 1 && $flag != -* && $given != -* ]]; then choices='@COMMANDS@'; fi
  # Files are completed for an option that takes one, and behind a colon, as in dir:PATH.
  if [[ $choices == FILE || $given == *:* ]]; then compopt -o default; fi
  if [[ $choices == FILE ]]; then return; fi

  mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$given")
  # Only what follows the last = or : is replaced.
  COMPREPLY=("${COMPREPLY[@]#"${given%"${given##*[:=]}"}"}")
  if [[ ${COMPREPLY[0]} == *[:/] ]]; then compopt -o nospace; fi
}
complete -F _streamer streamer
