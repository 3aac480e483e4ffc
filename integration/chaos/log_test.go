package chaos_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgsocket/socketio/integration/checker"
	"github.com/pgsocket/socketio/integration/harness"
)

// A logReader copies the log into the recorder as it grows.
type logReader struct {
	run  *chaosRun
	last int64 // id of the last batch read
	stop chan struct{}
	done chan struct{}
}

func (run *chaosRun) startLogReader(ctx context.Context) *logReader {
	r := &logReader{run: run, stop: make(chan struct{}), done: make(chan struct{})}
	go r.loop(ctx) // ends with finish
	return r
}

// finish reads the rest of the log.
func (r *logReader) finish() {
	close(r.stop)
	<-r.done
}

func (r *logReader) loop(ctx context.Context) {
	defer close(r.done)
	for {
		select {
		case <-r.stop:
			if err := r.read(ctx); err != nil {
				r.run.t.Errorf("read the log: %v", err)
			}
			return
		case <-time.After(300 * time.Millisecond):
			_ = r.read(ctx) // Postgres may be down: the next read gets it
		}
	}
}

func (r *logReader) read(ctx context.Context) error {
	schema := pgx.Identifier{r.run.cl.Schema}.Sanitize()
	return r.run.inTransaction(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			select l.id, l.id * 4096 + p.index, p.kind, p.rooms, p.except_rooms, `+schema+`.name_text(p.payload)
			from `+schema+`.log l cross join lateral `+schema+`.frame_packets(l.frame) p
			where l.id > $1 order by 2`, r.last)
		if err != nil {
			return err
		}
		var batch, position int64
		var kind int
		var to checker.Target
		var payload string
		last := r.last
		var fresh []checker.Record
		_, err = pgx.ForEachRow(rows, []any{&batch, &position, &kind, &to.Rooms, &to.Except, &payload}, func() error {
			last = batch
			entry := checker.Record{Kind: checker.Logged, Position: position, To: &checker.Target{Rooms: to.Rooms, Except: to.Except}}
			to = checker.Target{}
			switch kind {
			case 0:
				id, ok := harness.ParseTick(payload)
				if !ok {
					return fmt.Errorf("event in the log: %.100s", payload)
				}
				entry.Event = id
			case 3, 4:
				entry.Op = []checker.RoomOp{3: checker.Join, 4: checker.Leave}[kind]
				if err := json.Unmarshal([]byte(payload), &entry.Rooms); err != nil {
					return err
				}
			default:
				return nil
			}
			fresh = append(fresh, entry)
			return nil
		})
		if err == nil {
			r.last = last
			for _, entry := range fresh {
				r.run.recorder.Add(entry)
			}
		}
		return err
	})
}
