package pgadapter

import (
	"embed"
	"strings"

	"github.com/jackc/pgx/v5"
)

//go:embed sql/*.sql
var sqlFiles embed.FS

// queries are the statements in the files of directory sql, for one schema.
type queries struct {
	settings, head, clusterStats, byKey      string
	append, read, readBack                   string
	common, notifyRead, notify               string
	secret, secretRotate                     string
	relayOutbox, emit, resolveSnapshot, seen string
	nodeRegister, nodeBeat, checkFence       string
	nodeBind, nodeList, nodeEnd              string
	checkpointReset                          string
	markLook, markCheck, markSet             string
	checkpointSessions, checkpointNode       string
	sessionOpen, sessionState                string
	sessionPark, sessionDelete               string
	roomJoin, roomLeave, dataSet, dataDelete string
	resumeSessions, resumeRooms, resumeData  string
	resumeLog, resumeClaim                   string
	sweepExpired, sweepRooms                 string
	sweepTurn, sweepParked                   string
	sweepEmpty, sweepSwitch, sweepOutbox     string
	sweepAnswers                             string
	presenceSet, presenceDelete              string
	presenceMembers, presenceAnnounced       string
	resumePresence, announcePresence         string
	sweepPresence                            string
}

// queriesFor loads the statements and replaces the placeholder for the schema.
func queriesFor(schema string) *queries {
	load := func(name string) string { return loadQuery(name, schema) }
	return &queries{
		settings:           load("settings"),
		head:               load("head"),
		clusterStats:       load("cluster_stats"),
		byKey:              load("by_key"),
		append:             load("append"),
		notifyRead:         load("notify_read"),
		notify:             load("notify"),
		secret:             load("secret"),
		secretRotate:       load("secret_rotate"),
		read:               load("read"),
		readBack:           load("read_back"),
		common:             load("common"),
		relayOutbox:        load("relay_outbox"),
		emit:               load("emit"),
		resolveSnapshot:    load("resolve_snapshot"),
		seen:               load("seen"),
		nodeRegister:       load("node_register"),
		nodeBeat:           load("node_beat"),
		checkFence:         load("check_fence"),
		nodeBind:           load("node_bind"),
		nodeList:           load("node_list"),
		nodeEnd:            load("node_end"),
		checkpointReset:    load("checkpoint_reset"),
		markLook:           load("mark_look"),
		markCheck:          load("mark_check"),
		markSet:            load("mark_set"),
		checkpointSessions: load("checkpoint_sessions"),
		checkpointNode:     load("checkpoint_node"),
		sessionOpen:        load("session_open"),
		sessionState:       load("session_state"),
		sessionPark:        load("session_park"),
		sessionDelete:      load("session_delete"),
		roomJoin:           load("room_join"),
		roomLeave:          load("room_leave"),
		dataSet:            load("data_set"),
		dataDelete:         load("data_delete"),
		resumeSessions:     load("resume_sessions"),
		resumeRooms:        load("resume_rooms"),
		resumeData:         load("resume_data"),
		resumeLog:          load("resume_log"),
		resumeClaim:        load("resume_claim"),
		sweepExpired:       load("sweep_expired"),
		sweepTurn:          load("sweep_turn"),
		sweepParked:        load("sweep_parked"),
		sweepRooms:         load("sweep_rooms"),
		sweepEmpty:         load("sweep_empty"),
		sweepSwitch:        load("sweep_switch"),
		sweepOutbox:        load("sweep_outbox"),
		sweepAnswers:       load("sweep_answers"),
		presenceSet:        load("presence_set"),
		presenceDelete:     load("presence_delete"),
		presenceMembers:    load("presence_members"),
		presenceAnnounced:  load("presence_announced"),
		resumePresence:     load("resume_presence"),
		announcePresence:   load("announce_presence"),
		sweepPresence:      load("sweep_presence"),
	}
}

func loadQuery(name, schema string) string {
	b, err := sqlFiles.ReadFile("sql/" + name + ".sql")
	if err != nil {
		panic(err) //nolint:forbidigo // a file is missing, which every test detects
	}
	return strings.ReplaceAll(string(b), "/*schema.*/", pgx.Identifier{schema}.Sanitize()+".")
}
