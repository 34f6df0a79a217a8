// SPDX-License-Identifier: Apache-2.0
// The problems of the configuration, collected over all files.
#pragma once

#include "config/load.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace fallbackd::config {

/// A position in a file. Lines and columns count from 1; 0 if only the file is known.
struct Position {
  std::string file;
  int line = 0;
  int column = 0;
  [[nodiscard]] std::string toString() const;
};

class Problems {
 public:
  void add(const Position& where, std::string message, std::string suggestion = {});
  /// How many were added.
  [[nodiscard]] std::size_t count() const { return count_; }
  /// More than anyone would read: further ones are dropped.
  [[nodiscard]] bool full() const { return count_ > kMaxProblems; }
  /// In the order in which the files were read; within a file, by line and column.
  std::vector<Diagnostic> take();

 private:
  static constexpr std::size_t kMaxProblems = 1000;
  std::vector<Diagnostic> list_;
  std::size_t count_ = 0;
};

}  // namespace fallbackd::config
