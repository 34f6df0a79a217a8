// SPDX-License-Identifier: Apache-2.0
// When the registry was last seen to have a name with the content that the image store has. containerd
// records the time of the latest pull, but a pull that the mirror answered says nothing about the registry:
// then the time before it still counts. Kept on disk for the next start. One thread; saving blocks for a
// write.
#pragma once

#include "base/clock.hpp"
#include "base/error.hpp"

#include <cstddef>
#include <map>
#include <optional>
#include <string>

namespace fallbackd::mirror {

class LastSeen {
 public:
  static constexpr std::size_t kMaxNames = 1024;

  /// In memory only, if `file` is empty.
  explicit LastSeen(std::string file) : file_(std::move(file)) {}

  /// A file that is missing or damaged counts as empty; the error says which.
  Result<> load();

  /// `updatedAt`: the time that containerd reports for the name.
  [[nodiscard]] std::optional<Wall::time_point> of(const std::string& name,
                                                   std::optional<Wall::time_point> updatedAt) const;

  /// The mirror serves the name: containerd will record a pull.
  Result<> served(const std::string& name, std::optional<Wall::time_point> updatedAt, Wall::time_point now);
  /// The registry is healthy, and containerd goes on to it: what it records from now on is true.
  Result<> passedOn(const std::string& name, Wall::time_point now);

 private:
  struct Entry {
    std::optional<Wall::time_point> seen;  // at the registry, before the mirror served it
    Wall::time_point served;               // latest
    std::optional<Wall::time_point> passedOn;
  };
  Result<> save() const;

  std::string file_;
  std::map<std::string, Entry> entries_;
};

}  // namespace fallbackd::mirror
