// SPDX-License-Identifier: Apache-2.0
// What is wrong with the configuration, collected over all files.
#pragma once

#include "config/load.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace fallbackd::config {

/// Where something stands. Lines and columns count from 1; 0 where only the file is known.
struct Position {
  std::string file;
  int line = 0;
  int column = 0;
  [[nodiscard]] std::string toString() const;
};

class Problems {
 public:
  void add(const Position& where, std::string message, std::string suggestion = {});
  /// How many were added so far.
  [[nodiscard]] std::size_t count() const { return count_; }
  /// There are more than anyone would read: further ones are not kept.
  [[nodiscard]] bool full() const { return count_ > kMost; }
  /// Files in the order in which they were read; within one, by line and column.
  std::vector<Diagnostic> take();

 private:
  static constexpr std::size_t kMost = 1000;
  std::vector<Diagnostic> list_;
  std::size_t count_ = 0;
};

}  // namespace fallbackd::config
