#!/usr/bin/env bash
# Make the virtual environment that everything else runs in. Called by `make install`.
#
# mmcv-full decides while it is built whether it gets compiled ops: where torch is absent it is a
# package of Python files, installed in seconds. Hence the order below; NMS and RoIAlign then come
# from torchvision (oadp/compat/ops.py). OPS=1 compiles mmcv-full's own, at the end.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=${VENV:-.venv}
STAMP=$VENV/.oadp-installed
CHOICES=$VENV/.oadp-choices
WHEELS=${XDG_CACHE_HOME:-$HOME/.cache}/oadp/wheels
NINJA=ninja==1.13.0 # compiles several files at a time

usage() {
    cat <<'EOF'
make install [PYTHON=…] [TORCH_INDEX=…] [TORCH=…] [OPS=0|1]

  PYTHON       a Python 3.10, 3.11 or 3.12; by default the first one found
  TORCH_INDEX  where torch and torchvision come from, for another CUDA version or the CPU alone,
               e.g. https://download.pytorch.org/whl/cu126 or https://download.pytorch.org/whl/cpu
  TORCH        other versions, e.g. "torch==2.9.1 torchvision==0.24.1"
  OPS          1 compiles mmcv-full's ops (6 to 15 minutes on two cores); 0 goes back to torchvision's

What is not given stays as it was in an existing .venv. Nothing is done where nothing has changed.
EOF
}

say() { printf '\033[1m[%4ds] %s\033[0m\n' "$SECONDS" "$*"; }

die() {
    printf 'make install: %s\n' "$@" >&2
    exit 1
}

pinned() { grep -m1 "^$1==" requirements.txt; }

# --- What is missing, before any time is spent -------------------------------------------------

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null
}

find_python() {
    local candidate
    if [[ -x $VENV/bin/python ]] && is_supported "$VENV/bin/python"; then
        echo "$VENV/bin/python"
        return
    fi
    for candidate in ${PYTHON:-python3.11 python3.12 python3.10 python3 python}; do
        if is_supported "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
}

gigabytes_free() {
    df -Pk "$(dirname "$VENV")" | awk 'NR == 2 { print int($4 / 1024 / 1024) }'
}

preflight() {
    local faults=() needed=8 free
    if [[ -z $python ]]; then
        if [[ -n ${PYTHON:-} ]]; then
            faults+=("PYTHON=$PYTHON is not a Python 3.10, 3.11 or 3.12")
        else
            faults+=("no Python 3.10, 3.11 or 3.12 found; install one (e.g. apt-get install python3.11 python3.11-venv, conda create -n oadp python=3.11) or give PYTHON=/path/to/python")
        fi
    else
        if [[ -n ${PYTHON:-} && -x $VENV/bin/python ]] && is_supported "$PYTHON" \
            && [[ $("$PYTHON" -c "$tag") != $("$python" -c "$tag") ]]; then
            faults+=("$VENV holds another Python than PYTHON=$PYTHON; remove it first: rm -r $VENV")
        fi
        "$python" -c 'import venv, ensurepip' 2>/dev/null \
            || faults+=("$python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv")
        if [[ $OPS == 1 ]]; then
            command -v c++ >/dev/null \
                || faults+=("OPS=1 compiles C++ and found no compiler (c++); on Debian and Ubuntu: apt-get install g++")
            "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' \
                || faults+=("OPS=1 compiles C++ and found no Python.h; on Debian and Ubuntu: apt-get install python3-dev")
        fi
    fi
    [[ $OPS == [01] ]] || faults+=("OPS=$OPS: expected 0 or 1")
    if [[ ! -e $STAMP ]]; then
        [[ $TORCH_INDEX == */cpu ]] && needed=4
        free=$(gigabytes_free)
        ((free >= needed)) || faults+=("$free GB of disk are free beside $VENV, about $needed GB are needed")
    fi
    [[ $(uname -sm) == 'Linux x86_64' ]] \
        || say "Note: tested on Linux x86_64 only; this is $(uname -sm)"
    ((${#faults[@]} == 0)) || die "${faults[@]}"
}

# --- Steps --------------------------------------------------------------------------------------

pip() {
    local quiet=()
    [[ -t 1 ]] || quiet=(-q)
    "$VENV/bin/python" -m pip --disable-pip-version-check "$@" "${quiet[@]}"
}

ops_in_place() { compgen -G "$VENV/lib/python*/site-packages/mmcv/_ext*" >/dev/null; }

version_of() { # of a package in the virtual environment; empty if it is not there
    "$VENV/bin/python" -c "
import importlib.metadata as m
try: print(m.version('$1'))
except m.PackageNotFoundError: pass"
}

install_mmcv_without_ops() {
    if [[ mmcv-full==$(version_of mmcv-full) == "$(pinned mmcv-full)" ]]; then
        ! ops_in_place || [[ $OPS == 1 ]] && return
    fi
    say "mmcv-full, without its compiled ops"
    # Where torch is already there (a switch back from OPS=1), its import is made to fail.
    local hidden
    hidden=$(mktemp -d)
    echo 'raise ModuleNotFoundError("hidden while mmcv-full is built")' >"$hidden/torch.py"
    # No cache: pip cannot tell wheels with and without ops apart.
    PYTHONPATH=$hidden pip install --force-reinstall --no-deps --no-build-isolation --no-cache-dir \
        "$(pinned mmcv-full)"
    rm -r "$hidden"
}

install_torch() {
    local specs=${TORCH:-"$(pinned torch) $(pinned torchvision)"} index=()
    say "torch: $specs ${TORCH_INDEX:+from $TORCH_INDEX}"
    if [[ -n $TORCH_INDEX ]]; then
        index=(--index-url "$TORCH_INDEX")
        # Another build of the same version does not replace an installed one by itself.
        [[ $TORCH_INDEX == "$installed_index" ]] || index+=(--force-reinstall --no-deps)
    fi
    # shellcheck disable=SC2086  # several requirements
    pip install $specs "${index[@]}"
    # shellcheck disable=SC2086
    [[ -z $TORCH_INDEX ]] || pip install $specs --extra-index-url "$TORCH_INDEX"
}

install_rest() {
    say 'the other packages'
    local folder
    folder=$(mktemp -d)
    grep -vE '^(torch|torchvision)==' requirements.txt >"$folder/rest.txt"
    printf '%s==%s\n' torch "$(version_of torch)" torchvision "$(version_of torchvision)" \
        >"$folder/keep.txt"
    pip install -r "$folder/rest.txt" -c "$folder/keep.txt"
    rm -r "$folder"
}

ops_target() { # for what the ops are compiled: cpu, or cuda with its version and the GPUs' kind
    "$VENV/bin/python" - <<'EOF'
import os, re, shutil, subprocess, sys
import torch
if not torch.cuda.is_available() and os.environ.get('FORCE_CUDA', '0') != '1':
    print('cpu')
    sys.exit()
nvcc = shutil.which('nvcc') or os.path.join(os.environ.get('CUDA_HOME', '/usr/local/cuda'), 'bin', 'nvcc')
try:
    text = subprocess.run([nvcc, '--version'], capture_output=True, text=True, check=True).stdout
except OSError:
    sys.exit(f'there is a GPU and no CUDA toolkit ({nvcc})')
found = re.search(r'release (\d+\.\d+)', text).group(1)
if torch.version.cuda is None or found.split('.')[0] != torch.version.cuda.split('.')[0]:
    sys.exit(f'the CUDA toolkit is {found}, torch was made with {torch.version.cuda}')
if torch.cuda.is_available():
    kinds = sorted({'%d%d' % torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())})
else:
    kinds = [os.environ.get('TORCH_CUDA_ARCH_LIST', 'all').replace(' ', '_').replace(';', '_')]
print(f'cuda{torch.version.cuda}-sm{"-".join(kinds)}')
EOF
}

install_ops() {
    local target name wheels
    # On a machine with a GPU, ops for the CPU alone would be a step back from torchvision's.
    target=$(ops_target) \
        || die "cannot compile mmcv-full's ops for the GPU (see above); without OPS=1, torchvision's are used, on the GPU too"
    name=$(pinned mmcv-full)-torch$(version_of torch)-$("$VENV/bin/python" -c "$tag")-$target
    wheels=$WHEELS/${name//==/-}
    if ! compgen -G "$wheels/*.whl" >/dev/null; then
        say "compiling mmcv-full's ops for $target (6 to 15 minutes on two cores)"
        local unfinished=$wheels.$$
        mkdir -p "$unfinished"
        pip install "$NINJA"
        PATH=$PWD/$VENV/bin:$PATH MMCV_WITH_OPS=1 FORCE_CUDA=$([[ $target == cpu ]] && echo 0 || echo 1) \
            MAX_JOBS=${MAX_JOBS:-$(nproc)} \
            pip wheel --no-deps --no-build-isolation --no-cache-dir -w "$unfinished" "$(pinned mmcv-full)" \
            || { rm -r "$unfinished"; die "compiling mmcv-full's ops failed (see above); without OPS=1, torchvision's are used"; }
        mv "$unfinished" "$wheels"
    fi
    say "mmcv-full with its ops, from $wheels"
    pip install --force-reinstall --no-deps "$wheels"/*.whl
}

mend_opencv() {
    # mmcv, todd and lvis depend on opencv-python, whose wheels need the system's libGL for windows
    # that this project never opens. Servers and containers often have none: there, the build
    # without windows takes the place of its files.
    "$VENV/bin/python" -c 'import cv2' 2>/dev/null && return
    say 'opencv-python does not load here (no libGL): its headless build instead'
    pip install --force-reinstall --no-deps "$(pinned opencv-python | sed 's/python/python-headless/')"
    "$VENV/bin/python" -c 'import cv2'
}

# --- Main ---------------------------------------------------------------------------------------

case ${1:-} in
'') ;;
-h | --help) usage && exit ;;
*) usage >&2 && exit 2 ;;
esac

tag='import sys; print("cp%d%d" % sys.version_info[:2])'
kept_ops=0 kept_torch='' kept_index='' installed_index=''
if [[ -e $CHOICES ]]; then
    # shellcheck disable=SC1090
    source "$CHOICES"
    installed_index=$kept_index
fi
OPS=${OPS:-$kept_ops} TORCH=${TORCH:-$kept_torch} TORCH_INDEX=${TORCH_INDEX:-$kept_index}
python=$(find_python)
preflight

key=$({
    cat requirements.txt setup.py tools/install.sh
    echo "$OPS|$TORCH|$TORCH_INDEX"
    "$python" -V
} | sha256sum)
if [[ -e $STAMP && $(<"$STAMP") == "$key" ]]; then
    echo "$VENV is up to date"
    exit
fi

rm -f "$STAMP"
[[ -x $VENV/bin/python ]] || {
    say "$VENV by $("$python" -V)"
    "$python" -m venv "$VENV"
}
say 'setuptools, wheel, NumPy'
pip install "$(pinned setuptools)" "$(pinned wheel)" "$(pinned numpy)"
install_mmcv_without_ops
install_torch
install_rest
[[ $OPS == 0 ]] || install_ops
mend_opencv
pip install --no-deps --no-build-isolation -e .
say 'checking'
"$VENV/bin/python" -m pip check
"$VENV/bin/python" -c 'from oadp import compat; print("ops:", compat.ops_in_use())'
printf 'kept_ops=%q kept_torch=%q kept_index=%q\n' "$OPS" "$TORCH" "$TORCH_INDEX" >"$CHOICES"
echo "$key" >"$STAMP"
say "done; next: $VENV/bin/python -m oadp.doctor"
