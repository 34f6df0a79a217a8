// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/progress.hpp"

#include "app/ctl/output.hpp"

#include <chrono>
#include <cstdio>
#include <unistd.h>
#include <utility>

namespace fallbackd::ctl {

namespace {

constexpr std::chrono::milliseconds kOnTerminal{500};
constexpr std::chrono::seconds kInLog{5};
constexpr const char* kClearLine = "\r\x1b[K";

}  // namespace

Progress::Progress(std::string what, std::uint64_t total)
    : Progress(
          std::move(what), total, ::isatty(STDERR_FILENO) != 0 ? Form::terminal : Form::log,
          [](const std::string& text) { std::fprintf(stderr, "%s", text.c_str()); }, Clock::system()) {}

Progress::Progress(std::string what, std::uint64_t total, Form form, Sink sink, const Clock& clock)
    : what_(std::move(what)),
      total_(total),
      form_(form),
      sink_(std::move(sink)),
      clock_(clock),
      shownAt_(clock.now()) {}

Progress::~Progress() {
  if (shown_ && form_ == Form::terminal) sink_(kClearLine);
}

void Progress::add(std::uint64_t bytes) {
  done_ += bytes;
  const auto now = clock_.now();
  if (now - shownAt_ < (form_ == Form::terminal ? std::chrono::nanoseconds(kOnTerminal) : kInLog)) return;
  shownAt_ = now;
  shown_ = true;
  const auto of = total_ == 0 ? std::string() : " of " + humanBytes(total_);
  const auto text = "fallbackctl: " + what_ + " " + humanBytes(done_) + of;
  sink_(form_ == Form::terminal ? kClearLine + text : text + "\n");
}

}  // namespace fallbackd::ctl
