package model

// Faults are what was taken out of the protocol, one bit each.
type Faults uint32

// The faults. What each takes out is said in docs/model.md, with the promise that it breaks.
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
