// SPDX-License-Identifier: Apache-2.0
// The public keys that may sign: a folder of PEM files (*.pub, *.pem). Removing a key revokes it. Lines
// before or after the PEM block limit the time in which the key counts; if there are several, the strictest
// applies. Any other text is for people:
//   fallbackd-not-before: 2026-01-01
//   fallbackd-not-after: 2027-01-31T12:00:00Z
#pragma once

#include "base/clock.hpp"
#include "cache/crypto.hpp"
#include "cache/ownership.hpp"
#include "sys/fd.hpp"

#include <string>
#include <vector>

namespace fallbackd::cache {

class Keyring {
 public:
  struct Entry {
    std::string file;
    PublicKey key;
    Wall::time_point notBefore = Wall::time_point::min();
    Wall::time_point notAfter = Wall::time_point::max();
  };

  /// `owner`: who must own folder and files. One bad file invalidates the ring, because a key that is
  /// silently ignored, or that anyone could have written, is worse than a clear error. A key that appears
  /// twice counts once, in the time that both files allow. Reasons: keyring_invalid, unsafe_owner.
  static Result<Keyring> open(const std::string& folder, uid_t owner = 0);

  /// The same, but an empty folder is an empty ring: the last key was removed.
  static Result<Keyring> read(const std::string& folder, uid_t owner = 0);

  /// The state of the folder, without reading it: while it is unchanged, so is the ring.
  static Result<std::vector<FileFacts>> look(const std::string& folder, uid_t owner = 0);

  [[nodiscard]] const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
};

}  // namespace fallbackd::cache
