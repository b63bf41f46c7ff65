#!/usr/bin/env python3
"""Prints the manual page, or the completions of a shell, made of what `streamer --help` says.

    ops/manual.py man|bash|fish|zsh [PROGRAM]

To complete flags in this shell: source <(ops/manual.py bash), or zsh; ops/manual.py fish | source.
"""
import re
import subprocess
import sys

# The words that an option takes; one that ends in : or / is only a beginning. The help of each names them.
CHOICES = {
    "admin": "off",
    "when-full": "refuse replace-oldest report",
    "store": "memory dir: redis://",
    "sync": "always second",
    "store-down": "refuse allow",
    "log": "text json off",
}
BASH = r"""
_streamer() {
  local line=${COMP_LINE:0:COMP_POINT} command=serve choices=
  # What is being written, whole: bash cuts its own words at = and : too.
  local given=${line##*[[:blank:]]}
  local -a words
  read -ra words <<<"${line%"$given"}"
  local flag=${words[-1]}
  if [[ $given == --*=* ]]; then flag=${given%%=*} given=${given#*=}; fi
  case ${words[1]} in token | key | check | help) command=${words[1]} ;; esac

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
"""
ZSH = r"""#compdef streamer
_streamer() {
  local -a commands serve token
  commands=(
@COMMANDS@  )
  serve=(
@SERVE@  )
  token=(
@TOKEN@  )
  local help='(- *)--help[Print help]'
  if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
    _describe command commands
    return
  fi
  # The words are counted from the command, if there is one.
  if [[ $words[2] != -* ]]; then
    shift words
    (( CURRENT-- ))
  fi
  case $words[1] in
    token) _arguments -S $token $help '1:USER: ' ;;
    key) _arguments $help ;;
    check) _arguments $help '1:URL: ' ;;
    help) _arguments '1:topic:(@TOPICS@)' ;;
    *) _arguments -S $serve $help ;;
  esac
}
if [[ $funcstack[1] == _streamer ]]; then
  _streamer "$@"
else
  compdef _streamer streamer
fi
"""
MAN_TAIL = r""".SH SIGNALS
SIGTERM and SIGINT stop the server when it has finished what is under way, a second one at once.
SIGHUP reads the users and the keys again.
.SH EXIT STATUS
0 when all went well, 2 for a bad flag or variable, 1 for anything else that went wrong,
and 128 plus the number of a signal that ended it at once.
.SH EXAMPLES
.nf
streamer &
curl \-u alice: \-X POST 'http://127.0.0.1:8000/?id=V'
.fi
"""


def flags(text):
    """Each flag of a help text: its name, its value if it takes one, what it is for, and its default."""
    found = re.findall(r"^  --([a-z-]+)(?: (\S+))? {2,}(.*?)(?: \[(\S+)\])?$", text, re.M)
    for name, value, about, _ in found:
        for word in CHOICES.get(name, "").split() if value else ():
            assert word in about, f"--{name} does not name {word}"
    return found


def quote(text):
    return "'" + text.replace("'", r"'\''") + "'"


def escape(text, special):
    return re.sub(f"([{re.escape(special)}])", r"\\\1", text)


def bash():
    values = "".join(
        f"    '{command} --{name}') choices='{'FILE' if value == 'FILE' else CHOICES.get(name, '')}' ;;\n"
        for command, table in (("serve", SERVE), ("token", TOKEN)) for name, value, _, _ in table if value)
    names = lambda table: " ".join(f"--{flag[0]}" for flag in table) + " --help"
    return fill(BASH, values, names(SERVE), names(TOKEN), " ".join(name for name, _, _ in COMMANDS))


def zsh():
    def option(name, value, about, _):
        words = CHOICES.get(name, "").replace(":", r"\:")
        action = ("_files" if value == "FILE" else " " if not words
                  else f'{{compadd -S "" -- {words}}}' if ":" in words else f"({words})")
        takes = f"=[{escape(about, '[]:')}]:{escape(value, ':')}:{action}" if value else f"[{escape(about, '[]:')}]"
        return f"    {quote(f'--{name}{takes}')}\n"
    commands = "".join(f"    {quote(f'{name}:' + escape(about, ':'))}\n" for name, _, about in COMMANDS)
    rows = lambda table: "".join(option(*flag) for flag in table)
    return fill(ZSH, "", rows(SERVE), rows(TOKEN), commands)


def fish():
    def option(condition, name, value, about, _):
        words = value and CHOICES.get(name)
        takes = " -r -F" if value == "FILE" else f" -x -a '{words}'" if words else " -x" if value else ""
        return f"complete -c streamer -n '{condition}' -l {name}{takes} -d '{escape(about, chr(39))}'\n"
    lines = ["complete -c streamer -f\ncomplete -c streamer -s h -l help -d 'Print help'\n"]
    lines += [f"complete -c streamer -n __fish_use_subcommand -a {name} -d '{about}'\n" for name, _, about in COMMANDS]
    lines += [option("not __fish_seen_subcommand_from token key check help", *flag) for flag in SERVE]
    lines += [option("__fish_seen_subcommand_from token", *flag) for flag in TOKEN]
    lines += [f"complete -c streamer -n '__fish_seen_subcommand_from help' -a '{TOPICS}'\n"]
    return "".join(lines)


def fill(template, values, serve, token, commands):
    filled = {"@VALUES@": values, "@SERVE@": serve, "@TOKEN@": token, "@COMMANDS@": commands, "@TOPICS@": TOPICS}
    return re.sub("@[A-Z]+@", lambda match: filled[match[0]], template.lstrip())


def plain(text):
    """Text that is no roff: a backslash, a hyphen and what would begin a line as a command are shown as they are."""
    return re.sub(r"^(?=[.'])", r"\\&", text.replace("\\", r"\e").replace("-", r"\-"), flags=re.M)


def prose(text):
    """Each line as a paragraph, without the lists: the page has sections for them."""
    paragraphs = [part for part in text.strip().split("\n\n") if not re.match("Usage:|Flags", part)]
    return "\n.PP\n".join(plain(line) for part in paragraphs for line in part.split("\n")) + "\n"


def man():
    def synopsis(usage):
        # What stands for something else is in capitals.
        words = [rf"\f{'I' if re.search('[A-Z]', word) else 'B'}{plain(word)}\fR" for word in usage.split()]
        return r"\fBstreamer\fR " + " ".join(words) + "\n"
    def option(name, value, about, default):
        tag = rf"\fB{plain('--' + name)}\fR" + (rf" \fI{plain(value)}\fR" if value else "")
        return f".TP\n{tag}\n{plain(about)}.\n" + (plain(f"The default is {default}.") + "\n" if default else "")
    options = lambda table: "".join(option(*flag) for flag in table)
    commands = "".join(f".TP\n\\fB{name}\\fR\n{plain(about)}.\n" for name, _, about in COMMANDS)
    about, tail = HELP.split("\n\n")[0], HELP.rsplit("\n\n", 1)[1]
    head, token_tail = TOKEN_HELP.split("Flags:")[0], TOKEN_HELP.rsplit("\n\n", 1)[1]
    version = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return "".join([
        f'.TH STREAMER 1 "" "{version}" "User Commands"\n.SH NAME\nstreamer \\- tell{plain(about[len("streamer tells"):].rstrip("."))}\n',
        ".SH SYNOPSIS\n" + ".br\n".join(synopsis(usage) for _, usage, _ in COMMANDS),
        ".SH DESCRIPTION\n" + prose(about),
        ".SH COMMANDS\n" + commands,
        ".SH OPTIONS\n" + options(SERVE) + ".PP\n" + prose(tail),
        ".SH TOKENS\n" + prose(head) + options(TOKEN) + ".PP\n" + prose(token_tail),
        ".SH KEY\n" + prose(say("key")),
        ".SH CHECK\n" + prose(say("check")),
        MAN_TAIL,
    ])


def say(*command):
    return subprocess.run([PROGRAM, *command, "--help"], capture_output=True, text=True, check=True).stdout


if sys.argv[1:2] not in (["man"], ["bash"], ["fish"], ["zsh"]):
    sys.exit(__doc__)
PROGRAM = sys.argv[2] if len(sys.argv) > 2 else "streamer"
HELP, TOKEN_HELP = say(), say("token")
SERVE, TOKEN = flags(HELP), flags(TOKEN_HELP)
# Each command's name, how it is written, and what it does.
COMMANDS = [(usage.split()[0].strip("[]"), usage, about)
            for usage, about in re.findall(r"^  streamer (\S.*?) {2,}(.*)$", HELP, re.M)]
TOPICS = " ".join(name for name, _, _ in COMMANDS if name not in ("serve", "help"))
print({"man": man, "bash": bash, "fish": fish, "zsh": zsh}[sys.argv[1]](), end="")
