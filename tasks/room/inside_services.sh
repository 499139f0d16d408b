#!/bin/sh
# Starts servers on the sandbox's own loopback, empty and without a password, then the command. They end with it.
# services NAME... -- COMMAND
place=/lockgate/services
fail() {
    echo "no service $1: $2" >&2
    [ -f "$place/$1.log" ] && tail -n 5 "$place/$1.log" >&2
    exit 96
}
rm -rf "$place"
mkdir -p "$place"
while [ "$1" != -- ]; do
    log=$place/$1.log
    case "$1" in
    postgresql)
        bin=
        for one in /usr/local/bin /usr/lib/postgresql/*/bin; do [ -x "$one/initdb" ] && bin=$one; done
        [ -n "$bin" ] || fail "$1" "PostgreSQL is not installed"
        "$bin/initdb" -D "$place/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$log" 2>&1 ||
            fail "$1" "initdb failed"
        # a server that is thrown away keeps nothing safe
        "$bin/pg_ctl" -D "$place/data" -w -t 60 -l "$log" start >/dev/null 2>&1 -o "-p 5432 -k $place \
-c listen_addresses=127.0.0.1 -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c shared_buffers=32MB" ||
            fail "$1" "it did not start"
        "$bin/createdb" -h 127.0.0.1 -U postgres test 2>>"$log" || fail "$1" "its database cannot be made"
        ;;
    redis)
        command -v redis-server >/dev/null || fail "$1" "Redis is not installed"
        redis-server --bind 127.0.0.1 --port 6379 --daemonize yes --save '' --appendonly no --dir "$place" \
            --logfile "$log" >/dev/null || fail "$1" "it did not start"
        tries=0
        until redis-cli -h 127.0.0.1 ping >/dev/null 2>&1; do
            tries=$((tries + 1))
            [ "$tries" -lt 300 ] || fail "$1" "it does not answer"
            sleep 0.1
        done
        ;;
    esac
    shift
done
shift
exec "$@"
