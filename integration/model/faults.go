package model

// Faults are deviations from the protocol, one bit each.
type Faults uint32

// The faults. docs/model.md says what each removes from the protocol, and which promise that breaks.
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
