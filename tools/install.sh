#!/usr/bin/env bash
# Create the virtual environment of the project. Called by `make install`.
#
# This script does what pip cannot: it installs in the order that mmcv-full needs. mmcv-full decides while it is built
# whether its ops are compiled; without torch it installs as plain Python in seconds, and NMS and RoIAlign then come
# from torchvision (oadp/compat/ops.py). OPS=1 compiles mmcv-full's own ops at the end.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=${VENV:-.venv}
STAMP=$VENV/.oadp-state # the installed state: a checksum and the chosen options

usage() {
    cat <<'HELP'
make install [PYTHON=…] [TORCH_INDEX=…] [TORCH=…] [OPS=0|1]

  PYTHON       a Python 3.10, 3.11 or 3.12; by default the first one found
  TORCH_INDEX  package index of torch and torchvision, for another CUDA version or for the CPU only,
               e.g. https://download.pytorch.org/whl/cu126 or https://download.pytorch.org/whl/cpu
  TORCH        other versions, e.g. "torch==2.9.1 torchvision==0.24.1"
  OPS          1 compiles mmcv-full's ops (6 to 15 minutes on two cores); 0 uses torchvision's

An option that is not given keeps its previous value. If nothing has changed, nothing is installed.
HELP
}

say() { printf '\033[1m[%4ds] %s\033[0m\n' "$SECONDS" "$*"; }

die() {
    printf 'make install: %s\n' "$@" >&2
    exit 1
}

pinned() { grep -m1 "^$1==" requirements.txt; }

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in "$VENV/bin/python" ${PYTHON:-python3.11 python3.12 python3.10 python3 python}; do
        if is_supported "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
}

check_machine() {
    local needed=8 free faults=()
    [[ -n $python ]] || die "${PYTHON:-no Python found that} is not a Python 3.10, 3.11 or 3.12; install one, e.g. apt-get install python3.11 python3.11-venv, or set PYTHON=/path/to/python"
    "$python" -c 'import venv, ensurepip' 2>/dev/null \
        || faults+=("$python cannot create virtual environments; on Debian and Ubuntu: apt-get install python3-venv")
    [[ $OPS == [01] ]] || faults+=("OPS=$OPS: expected 0 or 1")
    [[ $OPS != 1 ]] || command -v c++ >/dev/null \
        || faults+=("OPS=1 needs a C++ compiler (c++); on Debian and Ubuntu: apt-get install g++ python3-dev")
    if [[ ! -e $STAMP ]]; then
        [[ $TORCH_INDEX == */cpu ]] && needed=4
        free=$(df -Pk "$(dirname "$VENV")" | awk 'NR == 2 { print int($4 / 1024 / 1024) }')
        ((free >= needed)) || faults+=("$free GB of disk are free beside $VENV, about $needed GB are needed")
    fi
    ((${#faults[@]} == 0)) || die "${faults[@]}"
}

pip() {
    local quiet=()
    [[ -t 1 ]] || quiet=(-q)
    "$VENV/bin/python" -m pip --disable-pip-version-check "$@" "${quiet[@]}"
}

install_mmcv() { # $1: 0 without compiled ops, 1 with them
    local hidden status=0
    hidden=$(mktemp -d)
    # Only a torch that can be imported gets ops compiled, so its import is made to fail. MMCV_WITH_OPS=0 would do the
    # same, but it names the package mmcv, and pip then refuses it.
    [[ $1 == 1 ]] || echo 'raise ModuleNotFoundError("hidden while mmcv-full is built")' >"$hidden/torch.py"
    # No cache: pip cannot distinguish wheels with and without ops.
    PYTHONPATH=$hidden MMCV_WITH_OPS=1 pip install --force-reinstall --no-deps --no-build-isolation \
        --no-cache-dir "$(pinned mmcv-full)" || status=$?
    rm -r "$hidden"
    return "$status"
}

install_torch() {
    local specs=${TORCH:-"$(pinned torch) $(pinned torchvision)"}
    # shellcheck disable=SC2086  # several requirements
    if [[ -n $TORCH_INDEX ]]; then
        # Another build of the same version does not replace an installed one by itself.
        pip install $specs --index-url "$TORCH_INDEX" --force-reinstall --no-deps
        pip install $specs --extra-index-url "$TORCH_INDEX"
    else
        pip install $specs
    fi
}

install_rest() { # all other packages, without changing torch
    local folder
    folder=$(mktemp -d)
    grep -vE '^(torch|torchvision)==' requirements.txt >"$folder/rest.txt"
    "$VENV/bin/python" -m pip list --format freeze | grep -E '^(torch|torchvision)==' >"$folder/keep.txt" || true
    pip install -r "$folder/rest.txt" -c "$folder/keep.txt"
    rm -r "$folder"
}

fix_opencv() {
    # mmcv, todd and lvis require opencv-python, whose wheels need the system's libGL. Servers and containers often
    # lack it; there, the headless build replaces the files of opencv-python.
    "$VENV/bin/python" -c 'import cv2' 2>/dev/null && return
    say 'opencv-python does not load (no libGL): installing its headless build'
    pip install --force-reinstall --no-deps "$(pinned opencv-python | sed 's/python/python-headless/')"
    "$VENV/bin/python" -c 'import cv2'
}

write_stamp() {
    printf 'installed=%q kept_ops=%q kept_torch=%q kept_index=%q\n' "$1" "$OPS" "$TORCH" "$TORCH_INDEX" >"$STAMP"
}

case ${1:-} in
'') ;;
-h | --help) usage && exit ;;
*) usage >&2 && exit 2 ;;
esac

kept_ops=0 kept_torch='' kept_index='' installed=''
# shellcheck disable=SC1090
[[ ! -e $STAMP ]] || source "$STAMP"
OPS=${OPS:-$kept_ops} TORCH=${TORCH:-$kept_torch} TORCH_INDEX=${TORCH_INDEX:-$kept_index}
python=$(find_python)
check_machine
key=$({
    cat requirements.txt pyproject.toml setup.py tools/install.sh
    echo "$OPS|$TORCH|$TORCH_INDEX"
    "$python" -V
} | sha256sum | cut -c1-64)
if [[ $installed == "$key" ]]; then
    echo "$VENV is up to date"
    exit
fi

[[ -x $VENV/bin/python ]] || "$python" -m venv "$VENV"
write_stamp '' # an installation that breaks off is repeated
say "setuptools, wheel, NumPy, mmcv-full, in $VENV ($("$VENV/bin/python" -V))"
pip install "$(pinned setuptools)" "$(pinned wheel)" "$(pinned numpy)"
install_mmcv 0
say "torch ${TORCH:+($TORCH) }${TORCH_INDEX:+from $TORCH_INDEX }(pip reports requirements of mmcv-full that are missing until the next step)"
install_torch
say 'the other packages'
install_rest
if [[ $OPS == 1 ]]; then
    say "compiling mmcv-full's ops (6 to 15 minutes on two cores)"
    install_mmcv 1 || die "compiling mmcv-full's ops failed (see above); OPS=0 uses torchvision's"
fi
fix_opencv
pip install --no-deps --no-build-isolation -e .
say 'checking'
"$VENV/bin/python" -m pip check
"$VENV/bin/python" -c 'from oadp import compat; print("ops:", compat.ops_in_use())'
write_stamp "$key"
say "done; next: $VENV/bin/python -m oadp.doctor"
