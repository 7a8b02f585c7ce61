"""Data sets: conversion of annotated images to what MMEngine's datasets read."""
