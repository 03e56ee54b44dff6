#!/bin/sh
# Makes the database's password once, in the form that each of its readers understands:
# `password` for the database when it makes its cluster, `pgpass` for libpq in everybody who connects.
#
# usage: deploy/secrets.sh FOLDER HOST DATABASE USER
set -eu
cd "$1"
[ ! -e password ] || exit 0
umask 377
password=$(head -c 32 /dev/urandom | od -A n -t x1 | tr -d ' \n')
rm -f pgpass password.new
echo "$2:*:$3:$4:$password" >pgpass
echo "$password" >password.new
# Last and at once: where this file is, both are whole.
mv password.new password
