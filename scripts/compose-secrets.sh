#!/usr/bin/env bash
# compose-secrets.sh: makes the files in the folder secrets that compose.yaml
# needs, those that are not there yet.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p secrets
# The folder keeps others out. The files themselves can be read by anybody,
# since the programs in the containers run as users of their own.
chmod 700 secrets
umask 022

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

for name in influxdb_password influxdb_token grafana_password; do
	[[ -e secrets/$name ]] || random >"secrets/$name"
done
[[ -e secrets/grafana_login ]] || printf 'admin:%s' "$(<secrets/grafana_password)" >secrets/grafana_login
if [[ ! -e secrets/loads_token ]]; then
	[[ -x bin/loads ]] || {
		echo "bin/loads makes the broker's token and is not there. Run make build, and try again." >&2
		exit 1
	}
	made=$(bin/loads --json token compose)
	field() { grep -o "\"$1\": *\"[^\"]*\"" <<<"$made" | cut -d '"' -f 4; }
	field line >secrets/loads_tokens
	field token >secrets/loads_token
fi
echo "The secrets are in the folder secrets. To use the broker:"
echo "  bin/loads info --token-file secrets/loads_token"
