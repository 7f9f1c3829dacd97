package codec

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// maxChanges bounds the changes of one message in bytes: of more, parts are made.
	maxChanges = MaxPack
	// leastChange and leastRef are the fewest bytes that a change (of a path of one
	// byte) and a reference to a pack take.
	leastChange = 3
	leastRef    = 36
)

// Numbers of fields, see wire.proto.
const (
	recordList   protowire.Number = 11
	keyframeList protowire.Number = 5
	listChanges  protowire.Number = 1
	listParts    protowire.Number = 2
	listPacks    protowire.Number = 3
)

// sparse returns an error if a message holds more or shorter changes and references than
// any encoder writes. A decoded change takes a hundred times the two bytes of an empty one,
// so that a few hundred compressed bytes could take all memory before a field is checked.
func sparse(k kind, message []byte) error {
	changes := 0
	list := func(n protowire.Number, item []byte) error {
		switch n {
		case listChanges:
			if changes += len(item); len(item) < leastChange || changes > maxChanges {
				return fmt.Errorf("%w: %v with a change of %d bytes, of %d in all", ErrDamaged, k, len(item), changes)
			}
		case listParts, listPacks:
			if len(item) < leastRef {
				return fmt.Errorf("%w: %v with a reference of %d bytes", ErrDamaged, k, len(item))
			}
		}
		return nil
	}
	in := func(lists protowire.Number) error {
		return eachMessage(k, message, func(n protowire.Number, b []byte) error {
			if n != lists {
				return nil
			}
			return eachMessage(k, b, list)
		})
	}
	switch k {
	case kindRecord:
		return in(recordList)
	case kindKeyframe:
		return in(keyframeList)
	case kindPart:
		return eachMessage(k, message, list) // Its changes have the same number.
	}
	return nil
}

// eachMessage calls do with the number and bytes of every field of variable length.
func eachMessage(k kind, message []byte, do func(protowire.Number, []byte) error) error {
	for len(message) > 0 {
		number, form, n := protowire.ConsumeTag(message)
		if n < 0 {
			return fmt.Errorf("%w: %v does not decode", ErrDamaged, k)
		}
		message = message[n:]
		if form == protowire.BytesType {
			b, _ := protowire.ConsumeBytes(message)
			if err := do(number, b); err != nil {
				return err
			}
		}
		if n = protowire.ConsumeFieldValue(number, form, message); n < 0 {
			return fmt.Errorf("%w: %v does not decode", ErrDamaged, k)
		}
		message = message[n:]
	}
	return nil
}
