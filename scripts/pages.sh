#!/usr/bin/env bash
# pages.sh: bundles the script and the styles of the pages into web/dist, where
# the program takes them from when it is built. It does nothing when what they
# are made of has not changed.
set -euo pipefail
cd "$(dirname "$0")/.."

out=web/dist
esbuild=v0.28.2
work=.build/pages
stamp=.build/pages.stamp

inputs=$(cat web/package.json web/package-lock.json web/script/*.js "$0" | cksum)
if [[ -e $out/pages.js && -e $out/pages.css && $(cat "$stamp" 2>/dev/null) == "$inputs" ]]; then
	exit 0
fi
scripts/need.sh go npm
tool=$(scripts/go-tool.sh esbuild github.com/evanw/esbuild/cmd/esbuild "$esbuild")

# The packages are kept out of the source, and none of their own scripts run.
mkdir -p "$work"
cp web/package.json web/package-lock.json web/.npmrc "$work/"
npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund --loglevel=error >"$work/npm.log" 2>&1 </dev/null || {
	tail -n 20 "$work/npm.log" >&2
	echo "The packages of web/package.json could not be had from npm. It needs the npm registry, or a mirror of it, once." >&2
	exit 1
}
rm -f "$out"/*.js "$out"/*.css "$out/LICENSES.txt"
NODE_PATH="$PWD/$work/node_modules" "$tool" web/script/pages.js --bundle --minify --format=iife --target=es2022 \
	--legal-comments=none --log-level=warning --outfile="$out/pages.js"
{
	echo "The script of the pages has in it, beside what is Loads' own:"
	for package in uplot; do
		printf '\n%s\n\n' "$package"
		cat "$work/node_modules/$package/LICENSE"
	done
} >"$out/LICENSES.txt"
echo "$inputs" >"$stamp"
echo "Bundled the script of the pages: $(wc -c <"$out/pages.js") bytes." >&2
