#!/bin/sh
# Installs the SDK clients of the conformance tests, and the DTLS peer of the monitor's, into target/conformance/, in exact
# versions; `cargo test` finds them there and installs nothing itself. Run again at will: a client whose files have not changed is left alone.
#
#   tests/conformance/install.sh              every client
#   tests/conformance/install.sh js java      these
#
# A client whose toolchain is missing is skipped, and said; with FLYBALL_TEST_STRICT=1 that is a failure.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
installed="${CARGO_TARGET_DIR:-$here/../../target}/conformance"
mkdir -p "$installed"
installed=$(CDPATH='' cd -- "$installed" && pwd)

install_npm() { # the lock file is the truth; `client.js` finds the modules through NODE_PATH
  rm -rf "$2" && mkdir -p "$2"
  cp "$1/package.json" "$1/package-lock.json" "$1/.npmrc" "$2"
  (cd "$2" && npm ci)
}

install_pip() {
  python3 -m venv --clear "$2"
  "$2/bin/pip" install --quiet --disable-pip-version-check --requirement "$1/requirements.txt"
}

install_go() {
  mkdir -p "$2"
  (cd "$1" && go build -mod=readonly -trimpath -o "$2/client" .)
}

install_maven() {
  rm -rf "$2"
  (cd "$1" && mvn --quiet --batch-mode -Dflyball.installed="$2" compile)
}

# client tools how
clients='js            node,npm   install_npm
js-legacy     node,npm   install_npm
python-legacy python3    install_pip
python-grpc   python3    install_pip
python-otlp   python3    install_pip
go            go         install_go
dtls          go         install_go
java          java,mvn   install_maven'

known=$(echo "$clients" | cut -d' ' -f1 | tr '\n' ' ')
for wanted in "$@"; do
  case " $known" in *" $wanted "*) ;; *) echo "no such client: $wanted; there are: $known" >&2; exit 2 ;; esac
done

missing_tool() {
  for tool in $(echo "$1" | tr ',' ' '); do
    command -v "$tool" >/dev/null || { echo "$tool"; return; }
  done
}

is_current() { # the stamp is written last, and is newer than every file of the client
  [ -f "$2/stamp" ] && [ -z "$(find "$1" -name node_modules -prune -o -type f -newer "$2/stamp" -print)" ]
}

echo "$clients" | {
  skipped=0
  while read -r client tools how; do
    case " ${*:-$client} " in *" $client "*) ;; *) continue ;; esac
    tool=$(missing_tool "$tools")
    if [ -n "$tool" ]; then
      echo "$client: skipped, because \`$tool\` is not installed" >&2
      skipped=1
    elif is_current "$here/$client" "$installed/$client"; then
      echo "$client: is there"
    else
      echo "$client: installing"
      "$how" "$here/$client" "$installed/$client" </dev/null
      touch "$installed/$client/stamp"
    fi
  done
  [ "$skipped" -eq 0 ] || [ "${FLYBALL_TEST_STRICT:-}" != 1 ]
}
