package fleet

import "time"

// Hasten makes a reporter speak more often, and look more often whether it was heard.
func (r *Reporter) Hasten(pause, recheck time.Duration) { r.pause, r.recheck = pause, recheck }
