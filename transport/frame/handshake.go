package frame

import (
	"encoding/json"
	"fmt"
)

// Handshake is the data of the OPEN packet. Times are in milliseconds, MaxPayload
// is in bytes. The order of the fields is the order on the wire.
type Handshake struct {
	SID          string   `json:"sid"`
	Upgrades     []string `json:"upgrades"`
	PingInterval int64    `json:"pingInterval"`
	PingTimeout  int64    `json:"pingTimeout"`
	MaxPayload   int64    `json:"maxPayload"`
}

// AppendOpen appends the OPEN packet with h to dst. Upgrades is always an array
// on the wire, never null.
func AppendOpen(dst []byte, h Handshake) []byte {
	if h.Upgrades == nil {
		h.Upgrades = []string{}
	}

	body, err := json.Marshal(h)
	if err != nil {
		return dst // strings and integers always marshal
	}

	return Append(dst, Open, body)
}

// ParseOpen parses the OPEN packet in text, for a client.
func ParseOpen(text []byte) (Handshake, error) {
	p, err := Parse(text)
	if err != nil {
		return Handshake{}, err
	}
	if p.Type != Open {
		return Handshake{}, fmt.Errorf("engine.io handshake: got a %s packet", p.Type)
	}

	var h Handshake
	if err := json.Unmarshal(p.Data, &h); err != nil {
		return Handshake{}, fmt.Errorf("engine.io handshake: %w", err)
	}

	return h, nil
}
