#!/bin/sh
# Writes the two committed tables of NUMERICS.md as a C header, from the TypeScript that holds them: there is one copy of each number.
# Usage: tables.sh NUMERICS_FOLDER > tables.h
set -eu
folder=$1

numbers() { sed -n '/Int32Array.of(/,/);/p' "$folder/$1" | sed -e '1d' -e '/);/d'; }

echo '/* Made by tools/tables.sh from firmware-protocol/numerics. */'
echo '#ifndef PRIME_TABLES_H'
echo '#define PRIME_TABLES_H'
echo '#include <stdint.h>'
echo 'static const int32_t gaussian_quantiles[31 * 33] = {'
numbers gaussian-table.ts
echo '};'
echo 'static const int32_t negative_powers[1025] = {'
numbers power-table.ts
echo '};'
echo '#endif'
