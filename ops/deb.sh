#!/usr/bin/env bash
# Packs a release binary for Debian and Ubuntu, with dpkg-deb and Python:
#   cargo build --release && ops/deb.sh target/release/streamer      prints the package's name
# The binary is run for its manual page and completions, so it is one for this machine. DEBFULLNAME and DEBEMAIL say who
# maintains the package.
set -euo pipefail
binary=$(realpath "$1")
out=$(realpath "${2:-.}")
cd "$(dirname "$0")/.."
version=$("$binary" --version | cut -d' ' -f2)
arch=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
umask 022
# Puts standard input, or a file, into the package.
put() { install -D -m "${3:-644}" "${2:-/dev/stdin}" "$root/$1"; }

put usr/bin/streamer "$binary" 755
sed 's|/usr/local/bin|/usr/bin|; s|/etc/systemd/system|/usr/lib/systemd/system|' ops/streamer.service |
  put usr/lib/systemd/system/streamer.service
ops/manual.py man "$binary" | gzip -9n | put usr/share/man/man1/streamer.1.gz
ops/manual.py bash "$binary" | put usr/share/bash-completion/completions/streamer
ops/manual.py zsh "$binary" | put usr/share/zsh/vendor-completions/_streamer
ops/manual.py fish "$binary" | put usr/share/fish/vendor_completions.d/streamer.fish
gzip -9nc CHANGELOG.md | put usr/share/doc/streamer/changelog.gz
{
  printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\n'
  printf 'Copyright: %s\nLicense: MIT\n' "$(sed -n 's/^Copyright (c) //p' LICENSE)"
  sed '1,/^Copyright/d; /./!d; s/^/ /' LICENSE
} | put usr/share/doc/streamer/copyright

put etc/streamer/users /dev/stdin 600 <<'USERS'
# Who gets in, a line a user, as `streamer token USER` prints it: user:sha256[:limit[:admin]]
USERS
put etc/streamer/streamer.env <<'SETTINGS'
# Settings of the service, as `streamer --help` lists them; they take effect with `systemctl restart streamer`.
#STREAMER_LIMIT=5
#STREAMER_STORE=dir:/var/lib/streamer
SETTINGS

# A static binary needs nothing, and others the libc that has the newest symbol they use.
libc=$(LC_ALL=C objdump -T "$binary" 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1 | cut -d_ -f2) || true
put DEBIAN/control <<CONTROL
Package: streamer
Version: $version
Architecture: $arch
Maintainer: ${DEBFULLNAME:-the streamer authors} <${DEBEMAIL:-streamer@example.org}>
Section: net
Priority: optional
Installed-Size: $(du -sk "$root" | cut -f1)
${libc:+Depends: libc6 (>= $libc), libgcc-s1
}Description: tells a video platform whether a user may start one more stream
 A small HTTP server that counts the streams each user plays, and refuses the
 start of one too many. It comes with a systemd unit, which is not started
 before somebody has said in /etc/streamer/users who gets in.
CONTROL
printf '/etc/streamer/%s\n' users streamer.env | put DEBIAN/conffiles
put DEBIAN/postinst /dev/stdin 755 <<'SCRIPT'
#!/bin/sh
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl try-restart streamer
fi
SCRIPT
put DEBIAN/prerm /dev/stdin 755 <<'SCRIPT'
#!/bin/sh
set -e
if [ "$1" = remove ] && command -v systemctl >/dev/null; then
  systemctl disable --quiet streamer
  if [ -d /run/systemd/system ]; then systemctl stop streamer; fi
fi
SCRIPT
put DEBIAN/postrm /dev/stdin 755 <<'SCRIPT'
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
# The streams, users and keys go with the settings.
if [ "$1" = purge ]; then rm -rf /etc/streamer /var/lib/streamer /var/lib/private/streamer; fi
SCRIPT

package=$out/streamer_${version}_$arch.deb
dpkg-deb --root-owner-group --build "$root" "$package" >/dev/null
echo "$package"
