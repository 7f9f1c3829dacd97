package codec

import "errors"

// Errors of decoding. Each is wrapped with what was wrong.
var (
	// ErrDamaged is returned for bytes that are not what confsyncd writes: cut,
	// altered, or not of the declared size.
	ErrDamaged = errors.New("damaged data")
	// ErrNewer is returned for bytes that a later version of confsyncd wrote and
	// this one cannot read.
	ErrNewer = errors.New("newer format")
)
