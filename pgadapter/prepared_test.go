package pgadapter

import (
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestPreparedTransactions(t *testing.T) {
	t.Parallel()
	b := newBenchWith(t, map[string]string{"max_prepared_transactions": "2"})
	execOn(t, b.conn, "begin", "select emit_all('prepared')", "prepare transaction 'one'", "select emit_all('before')")
	b.relay(t)
	execOn(t, b.conn, "commit prepared 'one'")
	b.relay(t)
	wantLogged(t, b, `["before"]`, `["prepared"]`)

	execOn(t, b.conn, "begin", "select emit_all('x', notify => true)")
	if _, err := b.conn.Exec(t.Context(), "prepare transaction 'two'"); err == nil || !strings.Contains(err.Error(), "NOTIFY") {
		t.Errorf("prepared with a notification: %v", err)
	}
}

// TestLogicalReplication_Subscriber: one database publishes a table, and the other one,
// which has the schema, subscribes to it.
func TestLogicalReplication_Subscriber(t *testing.T) {
	t.Parallel()
	b := newBenchWith(t, map[string]string{"wal_level": "logical"})
	execOn(t, b.conn, "create database origin")
	config := b.conn.Config().Copy()
	config.Database = "origin"
	origin, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer origin.Close(t.Context())
	table := "create table public.orders (id int primary key, customer int, status text)"
	execOn(t, origin, table, "alter table public.orders replica identity full", "create publication p for table public.orders",
		"insert into public.orders values (1, 7, 'new')", "select pg_create_logical_replication_slot('s', 'pgoutput')")
	execOn(t, b.conn, table,
		"select attach_trigger('public.orders', 'orders:{customer}', 'order', columns => '{id,status}', per_row => true, replicated => true)",
		"create subscription s connection 'host=127.0.0.1 port="+port(config)+" dbname=origin user=postgres password="+config.Password+
			"' publication p with (create_slot = false, slot_name = s, copy_data = false)")
	defer execOn(t, b.conn, "drop subscription s", "drop table public.orders")

	execOn(t, origin, "begin", "insert into public.orders values (2, 8, 'new')", "update public.orders set status = 'sent' where id = 2", "commit",
		"begin", "insert into public.orders values (3, 8, 'never')", "rollback", "delete from public.orders where id = 2")

	eventually(t, "both transactions are applied", func() bool { return b.int(t, "select count(distinct xid) from outbox") == 2 })
	b.relay(t)
	wantLogged(t, b,
		`["order", {"op": "insert", "new": {"id": 2, "status": "new"}, "table": "public.orders"}]`,
		`["order", {"op": "update", "new": {"id": 2, "status": "sent"}, "old": {"id": 2, "status": "new"}, "table": "public.orders"}]`,
		`["order", {"op": "delete", "old": {"id": 2, "status": "sent"}, "table": "public.orders"}]`)
	if rooms := b.rooms(t); len(rooms) != 1 || rooms[0] != "orders:8" {
		t.Errorf("to %q", rooms)
	}
}

func port(config *pgx.ConnConfig) string { return strconv.Itoa(int(config.Port)) }
