package model

// Faults are deviations from the protocol, one bit each.
type Faults uint32

// The faults. Each removes one rule from the protocol; the tests name the promise that this breaks. See docs/testing.md.
const (
	ReplayBeforeConnect Faults = 1 << iota
	NoWaitForReach
	EndsWithoutEpoch
	ChangesWithoutEpoch
	NoAppendLock
	RetryWithoutName
	LateAfterTrim
	RetryAfterTrim
	TwoInFlight
	TrimmedAccepted
	CheckpointDuringReplay
	SettledSurvivesClaim
	EndClaimsTheCursor
	CheckpointOvertakesEnd
	NotificationTrusted
	LocalEcho
	LiveNotBuffered
	SpliceGap
	NoIntervals
	JoinBeforeDurable
	FellBehindInSilence
	OpenedBehindOffset
	EvictionsIgnored
	NoSync
	LaterEpochIgnored
	MoveAnnouncedLate
	DisconnectDuringClaimIgnored
)

func (m *model) has(f Faults) bool { return m.Faults&f != 0 }
