package pgadapter

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pgsocket/socketio/adapter/adaptertest"
	"github.com/pgsocket/socketio/internal/pgserver"
	"github.com/pgsocket/socketio/pgtest"
)

func TestEmitter_RefusalsThatWereAnswered_AreReportedAsSuch(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"25006", "53100", "55P03"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			e := b.emitter(t, &EmitterOptions{Retention: 200 * time.Millisecond})
			b.exec(t, "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'refused' using errcode = '"+state+"'; end $$")
			b.exec(t, "create trigger refuse before insert on log_0 for each row execute function refuse()")
			r := adaptertest.Publish(t, e, adaptertest.Event("x"))
			if err := r.Wait(t.Context()); sqlState(err) != state || errors.Is(err, ErrUnanswered) || !strings.Contains(err.Error(), "not emitted") {
				t.Errorf("the receipt: %v", err)
			}
			b.exec(t, "drop trigger refuse on log_0")
			r = adaptertest.Publish(t, e, adaptertest.Event("y"))
			if err := r.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			wantLogged(t, b, "y")
		})
	}
}

func TestOpen_Standby_IsRefused(t *testing.T) {
	t.Parallel()
	srv, err := pgserver.Start(t.Context(), pgserver.Options{Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, srv) })
	b := newBench(t, pgtest.On(srv.DSN()))
	standby, err := srv.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, standby) })
	dsn := strings.Replace(b.dsn, srv.DSN()[:strings.LastIndex(srv.DSN(), "/")], standby.DSN()[:strings.LastIndex(standby.DSN(), "/")], 1)
	if e, err := OpenEmitter(t.Context(), dsn, &EmitterOptions{Schema: b.schema}); err == nil || !strings.Contains(err.Error(), "standby") {
		t.Errorf("OpenEmitter: %v, %v", e, err)
	}
	if _, err := Open(t.Context(), dsn, &Options{Schema: b.schema}); err == nil || !strings.Contains(err.Error(), "standby") {
		t.Errorf("Open: %v", err)
	}
}

func stop(t *testing.T, srv *pgserver.Server) {
	t.Helper()
	if err := srv.Stop(); err != nil {
		t.Error(err)
	}
}
