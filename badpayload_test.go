package socketio

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

type (
	badBase struct {
		ID int64 `json:"id"`
	}
	badRequest struct {
		badBase
		BadExported
		List   []badBase          `json:"list"`
		ByName map[string]badBase `json:"by_name"`
		Small  *int8              `json:"small"`
		Count  uint16             `json:"count"`
		Ratio  float64            `json:"ratio"`
		Name   string             `json:"name"`
		On     bool               `json:"on"`
		Addr   netip.Addr         `json:"addr"`
		At     time.Time          `json:"at"`
		Data   []byte             `json:"data"`
		Blob   Binary             `json:"blob"`
		Quoted int                `json:"quoted,string"`
		Own    badOwn             `json:"own"`
		Told   badTold            `json:"told"`
	}
	BadExported struct {
		Level int `json:"level"`
	}
	badOwn  struct{}
	badTold struct{}
)

func (*badOwn) UnmarshalJSON([]byte) error  { return errors.New("socketio.badOwn: secret") }
func (*badTold) UnmarshalJSON([]byte) error { return &Error{Code: "color", Message: "red or blue"} }

func TestBadPayload_SaysWhatJSONWasExpected(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{
		`{"id":"x"}`:                        `argument 0, field "id": expected a number, got a string`,
		`{"level":"x"}`:                     `argument 0, field "level": expected a number, got a string`,
		`{"list":[{"id":true}]}`:            `argument 0, field "list.id": expected a number, got a boolean`,
		`{"by_name":{"a":{"id":[]}}}`:       `argument 0, field "by_name.id": expected a number, got an array`,
		`{"small":300}`:                     `argument 0, field "small": expected an integer of 8 bits, got the number 300`,
		`{"id":1.5}`:                        `argument 0, field "id": expected an integer of 64 bits, got the number 1.5`,
		`{"count":-1}`:                      `argument 0, field "count": expected an integer of 16 bits that is not negative, got the number -1`,
		`{"ratio":1e999}`:                   `argument 0, field "ratio": expected a number of 64 bits, got the number 1e999`,
		`{"name":{}}`:                       `argument 0, field "name": expected a string, got an object`,
		`{"on":1}`:                          `argument 0, field "on": expected a boolean, got a number`,
		`{"addr":5}`:                        `argument 0, field "addr": expected a string, got a number`,
		`{"addr":"x"}`:                      `argument 0: invalid value`,
		`{"list":"x"}`:                      `argument 0, field "list": expected an array, got a string`,
		`{"at":"x"}`:                        `argument 0: invalid value`,
		`{"data":5}`:                        `argument 0, field "data": expected a string in base64, got a number`,
		`{"data":"!"}`:                      `argument 0: invalid value`,
		`{"blob":5}`:                        `argument 0: expected binary data`,
		`{"quoted":5}`:                      `argument 0: invalid value`,
		`{"own":5}`:                         `argument 0: invalid value`,
		`{"told":5}`:                        `argument 0: color: red or blue`,
		`[]`:                                `argument 0: expected an object, got an array`,
		`"` + strings.Repeat("x", 10) + `"`: `argument 0: expected an object, got a string`,
	} {
		err := decodePayload([]json.RawMessage{[]byte(sent)}, nil, new(badRequest))
		if err == nil {
			t.Errorf("%s was decoded", sent)
			continue
		}
		if got := badPayload("e", err); got.Error() != "bad_payload: e: "+want {
			t.Errorf("%s: %q, want %q", sent, got, want)
		}
	}
	if got := (&Handshake{Auth: []byte(`{"id":"x"}`)}).DecodeAuth(new(badRequest)); got == nil || got.Error() != `bad_payload: auth: field "id": expected a number, got a string` {
		t.Errorf("auth: %v", got)
	}
}
