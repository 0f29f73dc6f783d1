# Whether an earlier ./setup left nothing to do; for ./setup and ./vitrine to source, with $root set.
# It starts one process: each takes a millisecond or two, and every start of ./vitrine waits for it.
# shellcheck shell=bash

# Whether two small files have the same text.
same_text() {
    local a='' b=''
    [ -f "$1" ] && [ -f "$2" ] || return 1
    IFS= read -r -d '' a <"$1" || true
    IFS= read -r -d '' b <"$2" || true
    [ "$a" = "$b" ]
}

# What must hold for an earlier run's tools to be still the right ones.
tools_fresh() {
    [ -f "$root/.setup/tools" ] &&
        same_text "$root/setup" "$root/.setup/setup.done" &&
        same_text "$root/package-lock.json" "$root/.setup/package-lock.done" || return 1
    # shellcheck source=/dev/null
    . "$root/.setup/tools"
    [ -x "$VITRINE_ZIG" ] && [ -x "$VITRINE_BUN" ] && [ -x "$VITRINE_DENO" ] &&
        [ -d "$root/node_modules/uvu" ]
}

# A folder is newer than the stamp when a file in it was added or removed, so deletions count too.
library_fresh() {
    compgen -G "$root/zig-out/lib/*vitrine*" >/dev/null || return 1
    [ -f "$root/.setup/built" ] &&
        [ -z "$(find "$root/zig-src" "$root/build" "$root/build.zig" "$root/build.zig.zon" \
            -newer "$root/.setup/built" -print -quit 2>/dev/null)" ]
}
