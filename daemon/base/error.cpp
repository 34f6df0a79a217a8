// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"

#include <array>
#include <system_error>
#include <utility>

namespace fallbackd {

namespace {
constexpr std::array kStageNames{
#define X(name) std::string_view{#name},
    FALLBACKD_STAGES(X)
#undef X
};
constexpr std::array kReasonNames{
#define X(name) std::string_view{#name},
    FALLBACKD_REASONS(X)
#undef X
};
}  // namespace

std::string_view toString(Stage stage) {
  const auto index = static_cast<std::size_t>(stage);
  return index < kStageNames.size() ? kStageNames.at(index) : "unknown";
}

std::string_view toString(Reason reason) {
  const auto index = static_cast<std::size_t>(reason);
  return index < kReasonNames.size() ? kReasonNames.at(index) : "unknown";
}

std::string errnoText(int errnum) {
  return std::generic_category().message(errnum);
}

bool isTemporary(const Error& error) {
  switch (error.errnum) {
    case EAGAIN:
    case EINTR:
    case ENOMEM:
    case ENOBUFS:
    case EMFILE:
    case ENFILE:
    case EBUSY:
      return true;
    default:
      return error.reason == Reason::spawner_gone || error.reason == Reason::killed;
  }
}

bool isSilence(const Error& error) {
  return error.stage == Stage::containerd && error.reason != Reason::not_found &&
         error.reason != Reason::not_permitted;
}

std::string Error::message() const {
  std::string text{toString(stage)};
  text.append(": ").append(toString(reason));
  if (!context.empty()) text.append(": ").append(context);
  if (errnum != 0) text.append(": ").append(errnoText(errnum));
  return text;
}

tl::unexpected<Error> fail(Stage stage, Reason reason, std::string context, int errnum,
                           std::source_location where) {
  return tl::unexpected<Error>(Error{stage, reason, errnum, std::move(context), where});
}

tl::unexpected<Error> failErrno(Stage stage, std::string context, int errnum, std::source_location where) {
  return fail(stage, Reason::system, std::move(context), errnum, where);
}

}  // namespace fallbackd
