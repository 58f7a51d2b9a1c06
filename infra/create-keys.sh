#!/usr/bin/env bash
# The keys of the gateway, made in its vault: index-key and sealing-key, 32 random bytes each in base64.
#
#   infra/create-keys.sh <vault>             makes what is not there; nothing that is there changes
#   infra/create-keys.sh <vault> --rotate    adds a version of sealing-key; the gateway uses it after ten minutes
#
# index-key never changes: rows are named by it, so that with another one nobody would find theirs. Old versions of
# sealing-key stay enabled, for they open what they sealed. Who runs this needs the role Key Vault Secrets Officer.
set -euo pipefail

usage() {
  sed -n 's/^# \{0,1\}//p' "$0" >&2
  exit 2
}

[ $# -ge 1 ] && [ $# -le 2 ] || usage
vault=$1
rotate=${2:-}
[ -z "$rotate" ] || [ "$rotate" = --rotate ] || usage
[[ $vault =~ ^[A-Za-z0-9-]{3,24}$ ]] || usage

# The value goes by a file that nobody else can read, so that it is in no list of processes.
umask 077
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

add_version() {
  # no line feed at the end: the value is the text of the file
  head -c 32 /dev/urandom | base64 | tr -d '\n' >"$folder/key"
  az keyvault secret set --vault-name "$vault" --name "$1" --file "$folder/key" --encoding utf-8 \
    --content-type 'base64, 32 bytes' --output none
  rm "$folder/key"
  echo "$1: $2" >&2
}

# A secret that is there, one that is not, and a vault that cannot be asked are three things: the last one must not be
# taken for the second, or a key that never changes would be made anew.
names=$(az keyvault secret list --vault-name "$vault" --query '[].name' --output tsv)
deleted=$(az keyvault secret list-deleted --vault-name "$vault" --query '[].name' --output tsv)

for key in index-key sealing-key; do
  if grep -qx "$key" <<<"$names"; then
    echo "$key: is there" >&2
  elif grep -qx "$key" <<<"$deleted"; then
    echo "$key was deleted: bring it back with az keyvault secret recover --vault-name $vault --name $key" >&2
    exit 1
  else
    add_version "$key" 'made'
  fi
done

if [ "$rotate" = --rotate ] && grep -qx sealing-key <<<"$names"; then
  add_version sealing-key 'has a new version'
fi
