// SPDX-License-Identifier: Apache-2.0
// A small HTTP/1.1 server in one thread: one request per connection and a poll loop, so that a silent client
// delays nobody.
#pragma once

#include <cstdint>
#include <string>

namespace shop {

struct Answers {
  std::string index;  // the answer to GET /, one line
};

/// One line to stdout with the time, in a single write.
void log(const std::string& line);

/// Binds 0.0.0.0:port and serves for ever. Returns only on failure, with the error.
std::string serve(std::uint16_t port, const Answers& answers);

}  // namespace shop
