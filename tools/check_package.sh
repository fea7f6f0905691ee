#!/usr/bin/env bash
# Build the wheel, the sdist, the wheel from the sdist and the pure wheel; look at what is in
# them; and run each, compiled and on the fallback, in clean environments away from the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "check_package: $*" >&2; exit 1; }
listing() { # of an archive, into a file: a reader that stops early would end its writer
  case $1 in
    *.whl) "$work/build/bin/python" -m zipfile -l "$1" ;;
    *) "$work/build/bin/python" -m tarfile -l "$1" ;;
  esac >"$work/listing"
}
has() { listing "$1"; grep -q "$2" "$work/listing" || fail "$(basename "$1") must hold $2"; }
lacks() { listing "$1"; ! grep -qE "$2" "$work/listing" || fail "$(basename "$1") must not hold $2"; }

"${PYTHON:-python3}" -m venv "$work/build"
"$work/build/bin/python" -m pip install --quiet build
git ls-files -co --exclude-standard | tar cf - -T - | (mkdir "$work/source" && tar xf - -C "$work/source")
cd "$work/source"
"$work/build/bin/python" -m build --outdir "$work/dist" . >"$work/build.log" 2>&1 || { tail -50 "$work/build.log"; fail "build"; }
sdist=$(echo "$work"/dist/*.tar.gz)
wheel=$(echo "$work"/dist/*.whl)
INTMLP_NO_EXTENSION=1 "$work/build/bin/python" -m build --wheel --outdir "$work/pure" . >>"$work/build.log" 2>&1
pure=$(echo "$work"/pure/*-py3-none-any.whl)
[ -f "$pure" ] || fail "INTMLP_NO_EXTENSION=1 must build a py3-none-any wheel"

# `build` makes the wheel from the sdist, so both ways are one; what each holds:
for part in src/intmlp.h src/gemm/tile_tpl.h src/net/train.c intmlp/_backend/_core.pyx; do has "$sdist" "$part"; done
for part in _core.cpython _core.pyi py.typed mnist_2017.npz mnist_grid_2017.csv golden.json fallback/arith.py cli/bottleneck.py study/report.html.j2; do has "$wheel" "$part"; done
lacks "$wheel" '(^|[ /])(src|tests|bench|tools)/|\.c$|\.pyx|\.h$'
lacks "$pure" '\.so'

# A C build that fails must stop the installation, not fall back.
if CC=/bin/false "$work/build/bin/python" -m pip wheel --quiet --no-deps -w "$work/none" . >/dev/null 2>&1; then
  fail "a failing C build must fail the build"
fi

run() { # NAME WHEEL BACKEND...
  local name=$1 file=$2
  shift 2
  "${PYTHON:-python3}" -m venv "$work/$name"
  "$work/$name/bin/python" -m pip install --quiet "$file"
  mkdir -p "$work/$name-cwd"
  cd "$work/$name-cwd"
  echo "self-test of $(basename "$file")"
  for backend in "$@"; do
    INTMLP_BACKEND=$backend "$work/$name/bin/intmlp" info >"$work/info"
    grep -q "^backend: $backend" "$work/info"
  done
  "$work/$name/bin/intmlp" selftest >"$work/selftest" || fail "$(cat "$work/selftest")"
  tail -1 "$work/selftest"
  grep -q "^path: $work/$name/" "$work/selftest" || fail "another installation was tested"
  for backend in "$@"; do grep -q "^group .* $backend" "$work/selftest" || fail "$backend was not tested"; done
  if INTMLP_BACKEND=c:none "$work/$name/bin/python" -c "import intmlp; intmlp.show_config()" 2>/dev/null; then
    fail "an unknown backend must be an error"
  fi
}

run compiled "$wheel" c:scalar python
run pure "$pure" python
"$work/pure/bin/python" -W error::RuntimeWarning -c "import intmlp; intmlp.show_config()" 2>/dev/null && fail "the fallback must say so"
status=0
"$work/pure/bin/intmlp" gradcheck 2>"$work/err" || status=$?
[ "$status" = 2 ] && grep -q 'intmlp\[study\]' "$work/err" || fail "a missing extra must be named"
echo "package checks passed: $(basename "$wheel"), $(basename "$sdist"), $(basename "$pure")"
