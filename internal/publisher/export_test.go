package publisher

import "time"

// SetLockPatience sets how long Run waits for a process that has the publisher's state.
func (p *Publisher) SetLockPatience(d time.Duration) { p.lockPatience = d }
