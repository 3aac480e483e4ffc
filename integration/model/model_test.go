package model

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// configs are the models that are explored completely, each around one kind of fault. Together they are as much as
// fits into half a minute.
func configs() map[string]Config {
	c := map[string]Config{
		"cuts":                        {Budget: Budget{Emits: 1, Cuts: 2}},
		"traffic":                     {Budget: Budget{Emits: 4, Echoes: 1, Cuts: 1}},
		"late claim":                  {Budget: Budget{RoomEmits: 1, Joins: 1, Cuts: 1, Suspensions: 1}},
		"rooms":                       {AllEmit: true, Budget: Budget{RoomEmits: 2, Joins: 1, Leaves: 1, Cuts: 1}},
		"checkpoints":                 {Budget: Budget{Emits: 2, Cuts: 1, Checkpoints: 1, Trims: 1}},
		"generations":                 {Budget: Budget{Emits: 1, Cuts: 1, Checkpoints: 2, Trims: 1}},
		"one node":                    {Nodes: 1, Budget: Budget{Emits: 2, Cuts: 2, Checkpoints: 2, Trims: 1}},
		"suspend":                     {Budget: Budget{Emits: 1, Cuts: 1, Suspensions: 1}},
		"suspend, room":               {Budget: Budget{RoomEmits: 2, Joins: 1, Suspensions: 1}},
		"kill":                        {Budget: Budget{RoomEmits: 2, Joins: 1, Cuts: 1, Kills: 1}},
		"kill, trim":                  {Budget: Budget{Emits: 2, Checkpoints: 2, Trims: 1, Kills: 1}},
		"no answer":                   {AllEmit: true, Budget: Budget{Emits: 2, Cuts: 1, Unanswered: 1, Trims: 1}},
		"disconnect":                  {Budget: Budget{Emits: 1, Cuts: 1, Disconnects: 1}},
		"concurrent claims":           {Budget: Budget{Emits: 1, ConcurrentClaims: 1, Cuts: 1}},
		"concurrent claims, one node": {Nodes: 1, Budget: Budget{Emits: 1, ConcurrentClaims: 2, Cuts: 1}},
	}
	for name, config := range c {
		config.Clients, config.Connected = 1, true
		if config.Nodes == 0 {
			config.Nodes = 2
		}
		c[name] = config
	}
	c["two clients"] = Config{Nodes: 2, Clients: 2, AllEmit: true, Budget: Budget{Emits: 1, Cuts: 1}}
	return c
}

// large are the models that take more than two seconds.
var large = []string{"checkpoints", "cuts", "disconnect", "late claim", "no answer", "one node", "two clients"}

// limit is more than the number of states of any configuration.
const limit = 20_000_000

// TestModel_KeepsPromises explores all configurations without a fault.
func TestModel_KeepsPromises(t *testing.T) {
	t.Parallel()
	for name, c := range configs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if raceEnabled && slices.Contains(large, name) {
				t.Skip("too slow with the race detector, which finds nothing in one goroutine")
			}
			r := Explore(c, limit)
			t.Log(r)
			if r.Violation != "" || !r.Exhausted {
				t.Error("not every state was visited, or a state violates a promise")
			}
		})
	}
}

// injectedFaults are the faults, each with the configuration that finds it and the promise that it breaks.
func injectedFaults() map[string]struct {
	fault    Faults
	config   string
	promised string
} {
	return map[string]struct {
		fault    Faults
		config   string
		promised string
	}{
		"NotificationTrusted":          {NotificationTrusted, "traffic", "P2"},
		"ChangesWithoutEpoch":          {ChangesWithoutEpoch, "rooms", "P4"},
		"CheckpointDuringReplay":       {CheckpointDuringReplay, "checkpoints", "P4"},
		"CheckpointOvertakesEnd":       {CheckpointOvertakesEnd, "generations", "P4"},
		"EndClaimsTheCursor":           {EndClaimsTheCursor, "one node", "P4"},
		"EndsWithoutEpoch":             {EndsWithoutEpoch, "cuts", "P5"},
		"EvictionsIgnored":             {EvictionsIgnored, "late claim", "P4"},
		"MoveAnnouncedLate":            {MoveAnnouncedLate, "concurrent claims", "P5"},
		"FellBehindInSilence":          {FellBehindInSilence, "checkpoints", "P2"},
		"DisconnectDuringClaimIgnored": {DisconnectDuringClaimIgnored, "concurrent claims, one node", "P5"},
		"LaterEpochIgnored":            {LaterEpochIgnored, "concurrent claims", "P5"},
		"JoinBeforeDurable":            {JoinBeforeDurable, "kill", "P4"},
		"LateAfterTrim":                {LateAfterTrim, "no answer", "P1"},
		"LiveNotBuffered":              {LiveNotBuffered, "traffic", "P4"},
		"LocalEcho":                    {LocalEcho, "no answer", "P2"},
		"NoAppendLock":                 {NoAppendLock, "no answer", "P2"},
		"NoIntervals":                  {NoIntervals, "rooms", "P3"},
		"NoSync":                       {NoSync, "late claim", "P4"},
		"NoWaitForReach":               {NoWaitForReach, "traffic", "P3"},
		"OpenedBehindOffset":           {OpenedBehindOffset, "disconnect", "P3"},
		"ReplayBeforeConnect":          {ReplayBeforeConnect, "cuts", "P3"},
		"RetryAfterTrim":               {RetryAfterTrim, "no answer", "P3"},
		"RetryWithoutName":             {RetryWithoutName, "no answer", "P3"},
		"SettledSurvivesClaim":         {SettledSurvivesClaim, "generations", "P4"},
		"SpliceGap":                    {SpliceGap, "traffic", "P4"},
		"TrimmedAccepted":              {TrimmedAccepted, "checkpoints", "P4"},
		"TwoInFlight":                  {TwoInFlight, "no answer", "P1"},
	}
}

// TestModel_FindsFaults explores a configuration with each fault, and must find the broken promise.
func TestModel_FindsFaults(t *testing.T) {
	t.Parallel()
	for name, p := range injectedFaults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := configs()[p.config]
			c.Faults = p.fault
			r := Explore(c, limit)
			t.Log(r)
			if !strings.HasPrefix(r.Violation, p.promised+":") {
				t.Errorf("want a violation of %s", p.promised)
			}
		})
	}
}

// TestModel_Deep explores larger models for longer, one after the other.
func TestModel_Deep(t *testing.T) { //nolint:paralleltest // each takes gigabytes
	if os.Getenv("SOCKETIO_TEST_MODEL") != "deep" {
		t.Skip("SOCKETIO_TEST_MODEL=deep explores more, for minutes and in gigabytes of memory")
	}
	for name, budget := range map[string]Budget{ //nolint:paralleltest // as above
		"cuts":        {Emits: 2, Cuts: 2},
		"late claim":  {RoomEmits: 1, Joins: 1, Cuts: 2},
		"rooms":       {Emits: 1, RoomEmits: 2, Joins: 1, Leaves: 1, Echoes: 1, Cuts: 1, Disconnects: 1},
		"checkpoints": {Emits: 2, Cuts: 1, Checkpoints: 2, Trims: 1},
		"suspend":     {RoomEmits: 2, Joins: 1, Cuts: 1, Suspensions: 1},
		"kill":        {Emits: 2, Cuts: 1, Checkpoints: 1, Trims: 1, Kills: 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := Explore(Config{Nodes: 2, Clients: 1, Connected: true, Budget: budget}, limit)
			t.Log(r)
			if r.Violation != "" {
				t.Error("a state violates a promise")
			}
		})
	}
}
