# cmake -DCOMMAND=<command;argument...> -DEXPECTED=<regular expression> -P expect_abort.cmake
# Succeeds when the command aborts and says what is expected. (ctest counts every abort as a failure, even
# with WILL_FAIL.)

execute_process(COMMAND ${COMMAND} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
message("result: ${result}\noutput: ${output}")
# CMake describes a death by a signal in words; an emulator returns 128 + SIGABRT.
if(NOT result MATCHES "[Aa]bort" AND NOT result EQUAL 134)
  message(FATAL_ERROR "The program did not abort.")
endif()
if(NOT output MATCHES "${EXPECTED}")
  message(FATAL_ERROR "The output does not match '${EXPECTED}'.")
endif()
