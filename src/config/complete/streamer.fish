# Completions for fish, as `streamer help fish` prints them.
complete -c streamer -f
complete -c streamer -s h -l help -d 'Print help'
@COMMANDS@@SERVE@@TOKEN@complete -c streamer -n '__fish_seen_subcommand_from help' -a '@TOPICS@'
