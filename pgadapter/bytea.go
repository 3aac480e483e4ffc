package pgadapter

import (
	"encoding/hex"
	"errors"

	"github.com/jackc/pgx/v5/pgtype"
)

// registerTypes makes a connection decode both text forms of bytea. The setting
// bytea_output selects the form and may change at any time, and results are text in the execution modes
// exec and simple_protocol.
func registerTypes(m *pgtype.Map) {
	bytea := &pgtype.Type{Name: "bytea", OID: pgtype.ByteaOID, Codec: byteaCodec{}}
	m.RegisterType(bytea)
	m.RegisterType(&pgtype.Type{Name: "_bytea", OID: pgtype.ByteaArrayOID, Codec: &pgtype.ArrayCodec{ElementType: bytea}})
}

type byteaCodec struct{ pgtype.ByteaCodec }

// PlanScan implements pgtype.Codec.
func (c byteaCodec) PlanScan(m *pgtype.Map, oid uint32, format int16, target any) pgtype.ScanPlan {
	if _, ok := target.(*[]byte); ok && format == pgtype.TextFormatCode {
		return scanByteaText{}
	}
	return c.ByteaCodec.PlanScan(m, oid, format, target)
}

type scanByteaText struct{}

// Scan implements pgtype.ScanPlan.
func (scanByteaText) Scan(text []byte, target any) (err error) {
	b := target.(*[]byte)
	switch {
	case text == nil:
		*b = nil
	case len(text) >= 2 && text[0] == '\\' && text[1] == 'x':
		*b, err = hex.AppendDecode(make([]byte, 0, len(text)/2), text[2:])
	default:
		*b, err = unescape(text)
	}
	return err
}

var errEscape = errors.New("malformed bytea")

// unescape decodes the escape form: a backslash is doubled, other bytes that are not printable are
// a backslash and three octal digits.
func unescape(text []byte) ([]byte, error) {
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		rest := text[i:]
		switch {
		case rest[0] != '\\':
			b = append(b, rest[0])
		case len(rest) >= 2 && rest[1] == '\\':
			b = append(b, '\\')
			i++
		case len(rest) >= 4 && rest[1] >= '0' && rest[1] <= '3' && isOctal(rest[2]) && isOctal(rest[3]):
			b = append(b, (rest[1]-'0')<<6|(rest[2]-'0')<<3|(rest[3]-'0'))
			i += 3
		default:
			return nil, errEscape
		}
	}
	return b, nil
}

func isOctal(c byte) bool { return c >= '0' && c <= '7' }
