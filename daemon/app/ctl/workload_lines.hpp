// SPDX-License-Identifier: Apache-2.0
// Lines of YAML for one workload, and the comments between them.
#pragma once

#include "config/model.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::ctl {

/// For a YAML file: always in quotes, which is right for every text.
std::string yamlQuoted(std::string_view text);
std::string yamlList(const std::vector<std::string>& texts);

/// One workload in progress, indented by four columns.
class WorkloadLines {
 public:
  void line(const std::string& text) { text_ += "    " + text + "\n"; }
  void note(const std::string& text) { line("# " + oneLine(text)); }
  void open(const std::string& text) {
    note("TODO: " + text);
    ++open_;
  }
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] int openPoints() const { return open_; }

 private:
  /// A name from an object must not end the comment.
  static std::string oneLine(std::string text);
  std::string text_;
  int open_ = 0;
};

/// What a workload sets besides its name, match, image and binary, if it is not the default. What cannot be
/// written is an open point.
void writeWorkload(const config::Workload& workload, WorkloadLines& out);

}  // namespace fallbackd::ctl
